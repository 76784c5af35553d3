package bench

import (
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/septum-dev/septum/test/attack/node"
)

// listRules is how many rules the Envoy with a list has; the request matches the last.
const listRules = 1000

// startProxies starts what Septum is compared with, each in a pod of its own.
func (b *bench) startProxies(t *testing.T, root, libs string, origin netip.Addr) {
	t.Helper()
	b.plain = b.envoy(t, b.arms["plain"].pod, origin, 0)
	b.envoy(t, b.arms["first"].pod, b.arms["second"].pod.Addrs[0], 0)
	b.envoy(t, b.arms["second"].pod, origin, 0)
	delete(b.arms, "second")
	b.envoy(t, b.arms["list"].pod, origin, listRules)
	config := b.Path("haproxy.cfg")
	must(t, os.WriteFile(config, fmt.Appendf(nil, haproxyConfig, port, origin, port), 0o600))
	b.Start(b.arms["haproxy"].pod.NS, "/usr/bin/env", "LD_LIBRARY_PATH="+libs, root+"/usr/sbin/haproxy", "-f", config, "-db")
}

const haproxyConfig = `global
  nbthread 2
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind :%d
  http-request deny unless { path /file /bulk } METH_GET
  default_backend origin
backend origin
  http-reuse never
  server origin %s:%d
`

// envoy starts a stock Envoy as a reverse proxy, with a list of rules if there are any.
func (b *bench) envoy(t *testing.T, pod *node.Pod, to netip.Addr, rules int) *node.Process {
	t.Helper()
	config, err := protojson.Marshal(reverseProxy(to, rules))
	must(t, err)
	file := b.Path("bin/compared-" + pod.Name + ".json")
	must(t, os.WriteFile(file, config, 0o600))
	return b.Start(pod.NS, b.Path("bin/envoy"), "--config-path", file, "--use-dynamic-base-id", "--concurrency", strconv.Itoa(workers), "--log-level", "error")
}

// workers is how many threads every Envoy has.
const workers = 2

// reverseProxy is Envoy with nothing but the router. As a proxy that keeps the client's
// address must, it opens a connection of its own for each of a client's.
func reverseProxy(to netip.Addr, rules int) *bootstrapv3.Bootstrap {
	never := durationpb.New(0)
	filters := []*hcmv3.HttpFilter{{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(&routerv3.Router{})}}}
	if rules > 0 {
		filters = append([]*hcmv3.HttpFilter{{Name: "envoy.filters.http.rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyOf(rbacList(rules))}}}, filters...)
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "in", HttpFilters: filters, StreamIdleTimeout: never,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{VirtualHosts: []*routev3.VirtualHost{{
			Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "origin"}, Timeout: never}},
			}},
		}}}},
	}
	return &bootstrapv3.Bootstrap{
		Node: &corev3.Node{Id: "bench", Cluster: "bench"},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{{Name: "in", Address: address("0.0.0.0"), FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyOf(manager)},
			}}}}}},
			Clusters: []*clusterv3.Cluster{{
				Name: "origin", ConnectTimeout: durationpb.New(5 * time.Second), ConnectionPoolPerDownstreamConnection: true,
				ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
				LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: "origin", Endpoints: []*endpointv3.LocalityLbEndpoints{{
					LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address(to.String())}}}},
				}}},
			}},
		},
	}
}

// rbacList is the shape that most control planes give to rules.
func rbacList(n int) *rbacfilterv3.RBAC {
	policies := map[string]*rbacv3.Policy{}
	for i := range n {
		path := fmt.Sprintf("/list/%d", i)
		if i == n-1 {
			path = "/file"
		}
		policies[fmt.Sprintf("%05d", i)] = &rbacv3.Policy{
			Principals: []*rbacv3.Principal{{Identifier: &rbacv3.Principal_Any{Any: true}}},
			Permissions: []*rbacv3.Permission{{Rule: &rbacv3.Permission_AndRules{AndRules: &rbacv3.Permission_Set{Rules: []*rbacv3.Permission{
				{Rule: &rbacv3.Permission_Header{Header: &routev3.HeaderMatcher{Name: ":method", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exactly("GET")}}}},
				{Rule: &rbacv3.Permission_UrlPath{UrlPath: &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: exactly(path)}}}},
			}}}}},
		}
	}
	return &rbacfilterv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_ALLOW, Policies: policies}}
}

func exactly(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

func address(ip string) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}
}

func anyOf(m proto.Message) *anypb.Any {
	out, err := anypb.New(m)
	if err != nil {
		panic(err)
	}
	return out
}
