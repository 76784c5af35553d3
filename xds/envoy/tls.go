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

// tlsListenerFor is listenerFor for a class of TLS, with those ways of inspecting.
func tlsListenerFor(class policy.Class, ways []policy.Inspection, port uint16) *listenerv3.Listener {
	out := listenerFor(class.ID, class.Direction, port)
	out.ListenerFilters = append(out.ListenerFilters, &listenerv3.ListenerFilter{
		Name:       tlsInspector,
		ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: anyFor(&tlsinspectorv3.TlsInspector{})},
	})
	out.FilterChains, out.FilterChainMatcher = tlsChains(class, ways)
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
	case class.AuditAll != nil && (class.AllowAll != nil || class.Audit):
		return auditPrefix + encodeRule(*class.AuditAll), true
	case class.AllowAll != nil && class.AuditRest:
		return auditPrefix + encodeRule(*class.AllowAll), true
	case class.AllowAll != nil:
		return encodeRule(*class.AllowAll), true
	case class.Audit:
		return auditPrefix + defaultDeny, true
	}
	return "", false
}

// tlsChains are a chain for each way of inspecting and for each name that is passed on, and
// the matcher that finds them: first what is inspected, as its denies must hold.
func tlsChains(class policy.Class, ways []policy.Inspection) ([]*listenerv3.FilterChain, *matcher) {
	var inspected, passed finder
	var chains []*listenerv3.FilterChain
	for _, way := range ways {
		chains = append(chains, inspectChain(class, way))
	}
	for _, r := range class.TLS {
		for _, n := range r.Names {
			switch {
			case r.Sealed(): // the name goes nowhere, also not by another rule
				inspected.add(n, noChain)
			case r.Inspects():
				inspected.add(n, inspectionName(r.Inspect))
			case passed.add(n, string(n)):
				chains = append(chains, passChain(string(n), class.Direction, passedBy(class, r.ID)))
			}
		}
	}
	if len(chains) == 0 { // Envoy refuses a listener without any
		chains = append(chains, passChain(unfoundChain, class.Direction, defaultDeny))
	}
	slices.SortFunc(chains, func(a, b *listenerv3.FilterChain) int {
		return policy.CompareServerNames(policy.ServerName(a.Name), policy.ServerName(b.Name))
	})
	return chains, inspected.matcher(nest(passed.matcher(nil)))
}

// passedBy names the rule by which a name's connections go on, or that reports them.
func passedBy(class policy.Class, rule policy.RuleID) string {
	if class.AuditAll != nil {
		return auditPrefix + encodeRule(*class.AuditAll)
	}
	return encodeRule(rule)
}

// noChain is the name of no chain: what is sent there is refused.
const noChain = "none"

// unfoundChain is the name of a chain that no server name leads to.
const unfoundChain = "not found"

// finder finds chains by server names: those that are spelt out by one look-up, and then
// patterns in turn. The first rule that has a name decides.
type finder struct {
	exacts   map[string]*onMatch
	patterns []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher
	known    map[policy.ServerName]bool
}

// add says whether the name is new.
func (f *finder) add(n policy.ServerName, chain string) bool {
	if f.known == nil {
		f.known, f.exacts = map[policy.ServerName]bool{}, map[string]*onMatch{}
	}
	if f.known[n] {
		return false
	}
	f.known[n] = true
	to := toChain(chain)
	if n.Exact() {
		f.exacts[string(n)], f.exacts[string(n)+"."] = to, to
		return true
	}
	f.patterns = append(f.patterns, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: serverNameMatches(nameText(n)), OnMatch: to})
	return true
}

// nameText compares a name without a trailing dot; Envoy has it in lower case.
func nameText(n policy.ServerName) *text { return regexText(n.Expression() + `\.?`) }

// matcher asks the map, the patterns, and then what is next.
func (f *finder) matcher(next *onMatch) *matcher {
	if len(f.patterns) > 0 {
		next = nest(&matcher{OnNoMatch: next, MatcherType: &xdsmatcherv3.Matcher_MatcherList_{
			MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: f.patterns}}})
	}
	exacts := f.exacts
	if len(exacts) == 0 {
		exacts = map[string]*onMatch{noChain + ".": toChain(noChain)} // a map cannot be empty
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
			CommonConfig: commonLog(d, ruleState),
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
