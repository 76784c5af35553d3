package envoy

import (
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/septum-dev/septum/policy"
)

// routesFor returns a class's route configuration: its rules, and then every request to
// where its connection was going.
func routesFor(class policy.Class) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name: ListenerName(class.ID),
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "all",
			Domains: []string{"*"},
			Routes: []*routev3.Route{
				routeTo(class, &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}),
				// OPTIONS * and CONNECT have no path with a slash.
				routeTo(class, &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "*"}}),
				routeTo(class, &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{
					ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}),
			},
			TypedPerFilterConfig: map[string]*anypb.Any{rbacFilter: anyFor(&rbacfilterv3.RBACPerRoute{Rbac: rbacFor(class)})},
		}},
	}
}

func routeTo(class policy.Class, match *routev3.RouteMatch) *routev3.Route {
	never := durationpb.New(0)
	return &routev3.Route{
		Name:  string(class.ID),
		Match: match,
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: clusterName(class.Direction)},
			Timeout:          never,
			IdleTimeout:      never,
		}},
	}
}

// rbacFor returns the class's rules; in audit they are judged and refuse nothing.
func rbacFor(class policy.Class) *rbacfilterv3.RBAC {
	m := matcherFor(class)
	if class.Audit {
		return &rbacfilterv3.RBAC{ShadowMatcher: m}
	}
	return &rbacfilterv3.RBAC{Matcher: m}
}

// The names of what decides where no rule does.
const (
	defaultDeny = "septum:default"
	badPathDeny = "septum:path"
)

func allowed(name string) *rbacv3.Action {
	return &rbacv3.Action{Name: name, Action: rbacv3.RBAC_ALLOW}
}

func denied(name string) *rbacv3.Action {
	return &rbacv3.Action{Name: name, Action: rbacv3.RBAC_DENY}
}

func actionFor(rule policy.HTTPRule) *rbacv3.Action {
	if rule.Action == policy.Deny {
		return denied(encodeRule(rule.ID))
	}
	return allowed(encodeRule(rule.ID))
}
