package envoy

import (
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/septum-dev/septum/policy"
)

// routesFor returns a class's route configuration: its rules, and then every request to
// where its connection was going.
func routesFor(class policy.Class) *routev3.RouteConfiguration {
	path := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	connect := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{
		ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}}
	return &routev3.RouteConfiguration{
		Name: ListenerName(class.ID),
		VirtualHosts: []*routev3.VirtualHost{{
			Name:    "all",
			Domains: []string{"*"},
			Routes: []*routev3.Route{
				withoutProto(routeTo(class, path)), routeTo(class, path),
				withoutProto(routeTo(class, connect)), routeTo(class, connect),
			},
			TypedPerFilterConfig: filtersFor(class),
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

// Envoy gives every request an x-forwarded-proto unless it has one. So that a request goes
// on as it came, one is put on it that says that there was none (markProto), and is taken
// away by the route.
const (
	protoHeader = "x-forwarded-proto"
	protoAbsent = "septum-absent"
)

func withoutProto(r *routev3.Route) *routev3.Route {
	match := proto.CloneOf(r.Match)
	match.Headers = []*routev3.HeaderMatcher{{
		Name: protoHeader,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: protoAbsent},
		}},
	}}
	r.Match = match
	r.RequestHeadersToRemove = []string{protoHeader}
	return r
}

func markProto() []*corev3.TypedExtensionConfig {
	return []*corev3.TypedExtensionConfig{{
		Name: "envoy.http.early_header_mutation.header_mutation",
		TypedConfig: anyFor(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: protoHeader, Value: protoAbsent},
				AppendAction: corev3.HeaderValueOption_ADD_IF_ABSENT,
			}},
		}}}),
	}}
}

// filtersFor returns what the filters do for a class.
func filtersFor(class policy.Class) map[string]*anypb.Any {
	out := map[string]*anypb.Any{rbacFilter: anyFor(&rbacfilterv3.RBACPerRoute{Rbac: rbacFor(class)})}
	if tokens := tokensOf(class); tokens != nil {
		out[tokenFilter] = anyFor(tokens)
	}
	if rates := ratesOf(class); rates != nil {
		out[rateFilter] = anyFor(rates)
	}
	if changes := headerChanges(class); changes != nil {
		out[headersFilter] = anyFor(changes)
	}
	return out
}

// rbacFor returns the class's rules; in audit they are judged and refuse nothing. What audits
// beside what is enforced is judged apart.
func rbacFor(class policy.Class) *rbacfilterv3.RBAC {
	if class.Audit {
		return &rbacfilterv3.RBAC{ShadowMatcher: matcherFor(class)}
	}
	return &rbacfilterv3.RBAC{Matcher: matcherFor(class), ShadowMatcher: reportFor(class)}
}

// The names of what decides where no rule does.
const (
	defaultDeny = "septum:default"
	badPathDeny = "septum:path"
	// passed is for what no rule that audits denies.
	passed = "septum:passed"
	// twoHostsDeny is for a request with more than one host.
	twoHostsDeny = "septum:host"
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
