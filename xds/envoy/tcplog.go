package envoy

import (
	"strings"

	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

// tcpEventFor makes an event of a TLS connection that was passed on or refused; false for
// an entry that tells nothing new, such as the end of one that was passed on.
func tcpEventFor(entry *logdatav3.TCPAccessLogEntry, d policy.Direction) (policy.Event, bool) {
	common := entry.GetCommonProperties()
	refused := common.GetResponseFlags().GetNoRouteFound()
	if !refused && common.GetAccessLogType() != logdatav3.AccessLogType_TcpUpstreamConnected {
		return policy.Event{}, false
	}
	event := policy.Event{
		Time: common.GetStartTime().AsTime(), Source: policy.SourceEnvoy, Direction: d, Protocol: policy.ProtocolTCP,
		Src: addrPort(common.GetDownstreamDirectRemoteAddress()), Dst: addrPort(common.GetDownstreamLocalAddress()),
		TLS: &policy.TLSEvent{ServerName: cut(common.GetTlsProperties().GetTlsSniHostname())},
	}
	if refused {
		event.DropReason = "no rule matched"
		if event.TLS.ServerName == "" {
			event.DropReason = "not TLS, or without a server name"
		}
		return event, true
	}
	var rule wrapperspb.StringValue
	if err := common.GetFilterStateObjects()[ruleState].UnmarshalTo(&rule); err != nil {
		event.DropReason = "the rule is not known"
		return event, true
	}
	name, audited := strings.CutPrefix(rule.Value, auditPrefix)
	event.Rule, _ = decodeRule(name)
	event.Verdict = policy.Forwarded
	if audited {
		event.Verdict, event.DropReason = policy.Audited, "no rule matched"
	}
	return event, true
}
