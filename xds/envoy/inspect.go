package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

// A rule that inspects is a filter chain that ends TLS with the rule's certificate, judges the
// requests inside as any class does, and begins TLS again with the server, which must have a
// certificate for the name that the client asked for. Rules with the same secrets share a
// chain, whose bytes name the secrets: they come by SDS, so that a new certificate needs no
// change of it.

const tlsSocket = "envoy.transport_sockets.tls"

// inspections are the ways of inspecting that the class's rules have, in their order. A
// rule without its secrets has none, and its names are refused.
func inspections(class policy.Class) []policy.Inspection {
	var out []policy.Inspection
	for _, r := range class.TLS {
		if r.Inspects() && !r.Sealed() && !slices.Contains(out, r.Inspect) {
			out = append(out, r.Inspect)
		}
	}
	return out
}

// inspectionName names a way of inspecting, the same on every node.
func inspectionName(i policy.Inspection) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q", []policy.SecretID{i.Certificate, i.ClientCA, i.TrustedCA, i.ClientCertificate}))
	return "inspect-" + hex.EncodeToString(h[:8])
}

// routeName is the name of the route configuration of a class's inspected requests.
func routeName(id policy.ClassID, i policy.Inspection) string {
	return ListenerName(id) + "#" + inspectionName(i)
}

// listenerOf returns the listener that a route configuration belongs to.
func listenerOf(route string) string {
	name, _, _ := strings.Cut(route, "#")
	return name
}

// inspectChain is the chain of one way of inspecting.
func inspectChain(class policy.Class, i policy.Inspection) *listenerv3.FilterChain {
	manager := connectionManagerFor(routeName(class.ID, i), class.Direction)
	common := &tlsv3.CommonTlsContext{
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{sdsSecret(i.Certificate)},
		// A server without TLS is asked in HTTP/1.1, which all understand.
		AlpnProtocols: []string{"http/1.1"},
	}
	if i.TrustedCA != "" {
		common.AlpnProtocols = []string{"h2", "http/1.1"}
	}
	context := &tlsv3.DownstreamTlsContext{CommonTlsContext: common}
	if i.ClientCA != "" {
		context.RequireClientCertificate = wrapperspb.Bool(true)
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
			ValidationContextSdsSecretConfig: sdsSecret(i.ClientCA)}
	}
	return &listenerv3.FilterChain{
		Name: inspectionName(i),
		Filters: []*listenerv3.Filter{
			upstreamName(),
			{Name: "envoy.filters.network.http_connection_manager", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyFor(manager)}},
		},
		TransportSocket: &corev3.TransportSocket{Name: tlsSocket,
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: anyFor(context)}},
	}
}

// upstreamName has the server asked for the name that the client asked for, and no other.
func upstreamName() *listenerv3.Filter {
	return &listenerv3.Filter{Name: "envoy.filters.network.set_filter_state", ConfigType: &listenerv3.Filter_TypedConfig{
		TypedConfig: anyFor(&setstatev3.Config{OnNewConnection: []*filterstatev3.FilterStateValue{{
			Key: &filterstatev3.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.upstream_server_name"},
			Value: &filterstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: "%REQUESTED_SERVER_NAME%"}}},
			}},
			ReadOnly:           true,
			SharedWithUpstream: filterstatev3.FilterStateValue_ONCE,
		}}}),
	}}
}

func sdsSecret(id policy.SecretID) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: string(id), SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
	}}
}

// upgradeCluster is the name of the cluster for upgrades, which HTTP/2 has no way for that
// all servers understand.
func upgradeCluster(d policy.Direction, i policy.Inspection) string {
	return inspectCluster(d, i) + "-upgrade"
}

func inspectCluster(d policy.Direction, i policy.Inspection) string {
	if i.TrustedCA == "" {
		return clusterName(d)
	}
	return clusterName(d) + "-" + inspectionName(i)
}

// inspectClusters are the clusters of servers that TLS is begun with again.
func inspectClusters(d policy.Direction, i policy.Inspection) []*clusterv3.Cluster {
	if i.TrustedCA == "" {
		return nil
	}
	common := &tlsv3.CommonTlsContext{ValidationContextType: &tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig{
		ValidationContextSdsSecretConfig: sdsSecret(i.TrustedCA)}}
	if i.ClientCertificate != "" {
		common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sdsSecret(i.ClientCertificate)}
	}
	socket := &corev3.TransportSocket{Name: tlsSocket, ConfigType: &corev3.TransportSocket_TypedConfig{
		TypedConfig: anyFor(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, AutoSniSanValidation: true,
			// A session that is resumed is not verified again, and could be one for another name.
			MaxSessionKeys: wrapperspb.UInt32(0)})}}
	protocol := func(name string, o *httpv3.HttpProtocolOptions) *clusterv3.Cluster {
		c := proto.CloneOf(clusterFor(d))
		c.Name, c.TransportSocket = name, socket
		o.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{
			IdleTimeout: durationpb.New(poolIdle), MaxHeadersCount: wrapperspb.UInt32(maxHeaders), MaxResponseHeadersKb: wrapperspb.UInt32(maxHeaderKB),
		}
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyFor(o)}
		return c
	}
	return []*clusterv3.Cluster{
		protocol(inspectCluster(d, i), &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{HttpProtocolOptions: http1Options(), Http2ProtocolOptions: http2Options()}}}),
		protocol(upgradeCluster(d, i), &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
				HttpProtocolOptions: http1Options()}}}}),
	}
}

// inspectRoutes are the class's rules, and then every request to where its connection was going.
func inspectRoutes(class policy.Class, i policy.Inspection) *routev3.RouteConfiguration {
	out := routesFor(class)
	out.Name = routeName(class.ID, i)
	host := out.VirtualHosts[0]
	var routes []*routev3.Route
	for _, r := range host.Routes {
		r.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: inspectCluster(class.Direction, i)}
		if i.TrustedCA != "" {
			upgrade := proto.CloneOf(r)
			upgrade.GetRoute().ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: upgradeCluster(class.Direction, i)}
			upgrade.Match.Headers = append(upgrade.Match.Headers, &routev3.HeaderMatcher{
				Name: "upgrade", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}})
			routes = append(routes, upgrade)
		}
		routes = append(routes, r)
	}
	host.Routes = routes
	return out
}

// secretFor is a secret as Envoy is given it.
func secretFor(s policy.Secret) *tlsv3.Secret {
	bytes := func(b policy.Hidden) *corev3.DataSource {
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
	}
	if len(s.Key) > 0 {
		return &tlsv3.Secret{Name: string(s.ID), Type: &tlsv3.Secret_TlsCertificate{
			TlsCertificate: &tlsv3.TlsCertificate{CertificateChain: bytes(s.Value), PrivateKey: bytes(s.Key)}}}
	}
	return &tlsv3.Secret{Name: string(s.ID), Type: &tlsv3.Secret_ValidationContext{
		ValidationContext: &tlsv3.CertificateValidationContext{TrustedCa: bytes(s.Value)}}}
}
