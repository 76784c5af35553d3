package envoy

import (
	"slices"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	filterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

// A class of TLS is a listener that reads the ClientHello and leaves it where it is, and has
// a filter chain for each name or pattern. Envoy replaces the chains of a listener in place:
// those that stay the same keep their connections, and those of a chain that goes are cut
// within the drain time. So an edited rule acts on new connections at once, and cuts those
// of the names that it no longer has, and no others.

const (
	tlsInspector = "envoy.filters.listener.tls_inspector"
	// ruleState is where a chain says which rule it stands for.
	ruleState = "septum.rule"
	// restChain is the chain of what no rule allows, where that goes on all the same.
	restChain = "rest"
	// helloTimeout is how long a client that may be none of TLS is waited for.
	helloTimeout = 2 * time.Second
)

// tlsListenerFor is listenerFor for a class of TLS.
func tlsListenerFor(class policy.Class, port uint16) *listenerv3.Listener {
	out := listenerFor(class.ID, class.Direction, port)
	out.ListenerFilters = append(out.ListenerFilters, &listenerv3.ListenerFilter{
		Name:       tlsInspector,
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: anyFor(&tlsinspectorv3.TlsInspector{})},
	})
	out.FilterChains, out.FilterChainMatcher = tlsChains(class)
	out.AccessLog = refusalLog(class.Direction)
	if rest, ok := restOf(class); ok {
		// A server that speaks first is no TLS server, and its client says nothing to inspect.
		out.ListenerFiltersTimeout, out.ContinueOnListenerFiltersTimeout = durationpb.New(helloTimeout), true
		out.DefaultFilterChain = passChain(restChain, class.Direction, rest)
	}
	return out
}

// restOf names the rule by which goes on what no rule on names allows; false where it is refused.
func restOf(class policy.Class) (string, bool) {
	switch {
	case class.AllowAll != nil && class.AuditRest:
		return auditPrefix + encodeRule(*class.AllowAll), true
	case class.AllowAll != nil:
		return encodeRule(*class.AllowAll), true
	case class.Audit:
		return auditPrefix + defaultDeny, true
	}
	return "", false
}

// tlsChains are a chain for each name, and the matcher that finds it: names that are spelt
// out by one look-up, and then patterns in turn.
func tlsChains(class policy.Class) ([]*listenerv3.FilterChain, *matcher) {
	rules := map[policy.ServerName]policy.RuleID{}
	var names []policy.ServerName
	for _, r := range class.TLS {
		for _, n := range r.Names {
			if _, known := rules[n]; !known {
				rules[n] = r.ID
				names = append(names, n)
			}
		}
	}
	var chains []*listenerv3.FilterChain
	exacts := map[string]*onMatch{}
	var patterns []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher
	for _, n := range names { // in the order of the rules: the first that matches decides
		to := toChain(string(n))
		if n.Exact() {
			exacts[string(n)], exacts[string(n)+"."] = to, to
		} else {
			patterns = append(patterns, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
				Predicate: serverNameMatches(regexText(n.Expression() + `\.?`)), OnMatch: to,
			})
		}
		chains = append(chains, passChain(string(n), class.Direction, encodeRule(rules[n])))
	}
	slices.SortFunc(chains, func(a, b *listenerv3.FilterChain) int {
		return policy.CompareServerNames(policy.ServerName(a.Name), policy.ServerName(b.Name))
	})
	return chains, chainMatcher(exacts, patterns)
}

// chainMatcher asks the map, and then the patterns. Without either, nothing is found.
func chainMatcher(exacts map[string]*onMatch, patterns []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher) *matcher {
	var next *onMatch
	if len(patterns) > 0 {
		next = nest(&matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherList_{
			MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: patterns}}})
	}
	if len(exacts) == 0 {
		exacts = map[string]*onMatch{"": toChain("none")} // no chain has that name
	}
	return &matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: &xdsmatcherv3.Matcher_MatcherTree{
			Input: serverNameInput(),
			TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: exacts}},
		}},
		OnNoMatch: next,
	}
}

func toChain(name string) *onMatch {
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: name, TypedConfig: anyFor(wrapperspb.String(name)),
	}}}
}

func serverNameInput() *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: "server-name", TypedConfig: anyFor(&networkv3.ServerNameInput{})}
}

func serverNameMatches(t *text) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   serverNameInput(),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: t},
		},
	}}
}

// passChain passes a connection on as it is.
func passChain(name string, d policy.Direction, rule string) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Name: name, Filters: []*listenerv3.Filter{
		ruleFilter(rule),
		{Name: "envoy.filters.network.tcp_proxy", ConfigType: &listenerv3.Filter_TypedConfig{
			TypedConfig: anyFor(&tcpproxyv3.TcpProxy{
				StatPrefix:       directionName(d),
				ClusterSpecifier: &tcpproxyv3.TcpProxy_Cluster{Cluster: clusterName(d)},
				IdleTimeout:      durationpb.New(0),
				AccessLog:        []*accesslogv3.AccessLog{tcpLog(d, nil)},
				AccessLogOptions: &tcpproxyv3.TcpProxy_TcpAccessLogOptions{FlushAccessLogOnConnected: true},
			})}},
	}}
}

// ruleFilter writes the rule that a chain stands for where the access log finds it.
func ruleFilter(rule string) *listenerv3.Filter {
	return &listenerv3.Filter{Name: "envoy.filters.network.set_filter_state", ConfigType: &listenerv3.Filter_TypedConfig{
		TypedConfig: anyFor(&setstatev3.Config{OnNewConnection: []*filterstatev3.FilterStateValue{{
			Key:        &filterstatev3.FilterStateValue_ObjectKey{ObjectKey: ruleState},
			FactoryKey: "envoy.string",
			Value: &filterstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: formatText(rule)}}},
			}},
			ReadOnly: true,
		}}}),
	}}
}

// tcpLog sends an entry for each connection to the enforcer.
func tcpLog(d policy.Direction, filter *accesslogv3.AccessLogFilter) *accesslogv3.AccessLog {
	return &accesslogv3.AccessLog{
		Name:   "envoy.access_loggers.tcp_grpc",
		Filter: filter,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: anyFor(&grpclogv3.TcpGrpcAccessLogConfig{
			CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
				LogName:                 directionName(d),
				TransportApiVersion:     corev3.ApiVersion_V3,
				GrpcService:             grpcService(logCluster),
				BufferFlushInterval:     durationpb.New(logInterval),
				BufferSizeBytes:         wrapperspb.UInt32(16 << 10),
				FilterStateObjectsToLog: []string{ruleState},
			},
		})},
	}
}

// refusalLog tells of connections for which there is no chain.
func refusalLog(d policy.Direction) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{tcpLog(d, &accesslogv3.AccessLogFilter{
		FilterSpecifier: &accesslogv3.AccessLogFilter_ResponseFlagFilter{
			ResponseFlagFilter: &accesslogv3.ResponseFlagFilter{Flags: []string{"NR"}}},
	})}
}
