package envoy

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	logdatav3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"

	"github.com/septum-dev/septum/policy"
)

// maxText is how much of a method, host or path is kept: they are the client's words.
const maxText = 1024

type logService struct {
	accesslogv3.UnimplementedAccessLogServiceServer
	server *Server
}

// StreamAccessLogs makes events of what Envoy logs. The log's name, which is the
// direction, comes with the first message alone.
func (l logService) StreamAccessLogs(conn accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	direction := policy.Ingress
	open := openRequests{}
	for {
		msg, err := conn.Recv()
		if err != nil {
			return err
		}
		if msg.Identifier != nil {
			direction = directionOf(msg.Identifier.LogName)
		}
		for _, entry := range msg.GetTcpLogs().GetLogEntry() {
			if event, ok := tcpEventFor(entry, direction); ok {
				event.Node = l.server.config.Node
				l.server.config.OnEvent(event)
			}
		}
		for _, entry := range msg.GetHttpLogs().GetLogEntry() {
			stage, tell := open.stage(entry.GetCommonProperties())
			if !tell {
				continue
			}
			event := eventFor(entry, direction)
			event.HTTP.Stage = stage
			event.Node = l.server.config.Node
			l.server.config.OnEvent(event)
		}
	}
}

func directionOf(logName string) policy.Direction {
	if logName == directionName(policy.Egress) {
		return policy.Egress
	}
	return policy.Ingress
}

func eventFor(entry *logdatav3.HTTPAccessLogEntry, d policy.Direction) policy.Event {
	common, req, res := entry.GetCommonProperties(), entry.GetRequest(), entry.GetResponse()
	event := policy.Event{
		Time:      common.GetStartTime().AsTime(),
		Source:    policy.SourceEnvoy,
		Direction: d,
		Protocol:  policy.ProtocolTCP,
		// The direct address is the connection's own; the other can be set by a header.
		Src: addrPort(common.GetDownstreamDirectRemoteAddress()),
		Dst: addrPort(common.GetDownstreamLocalAddress()),
		HTTP: &policy.HTTPEvent{
			Method:  cut(method(req)),
			Host:    cut(req.GetAuthority()),
			Path:    cut(req.GetPath()),
			Version: versionName(entry.GetProtocolVersion()),
			Code:    int(res.GetResponseCode().GetValue()),
			Latency: latency(common),
			TraceID: traceID(req.GetRequestHeaders()[traceHeader]),
		},
	}
	if tls := common.GetTlsProperties(); tls != nil {
		event.TLS = &policy.TLSEvent{ServerName: cut(tls.GetTlsSniHostname())}
	}
	event.HTTP.GRPC = grpcOf(entry)
	event.HTTP.Mismatched = slices.Sorted(maps.Keys(common.GetMetadata().GetFilterMetadata()[headersFilter].GetFields()))
	event.Verdict, event.Rule, event.DropReason = verdictOf(common)
	return event
}

// verdictOf reads what the RBAC filter wrote: "enforced" of what refuses, "shadow" of what
// audits. Without either, Envoy itself refused what it could not read.
func verdictOf(common *logdatav3.AccessLogCommon) (policy.Verdict, policy.RuleID, string) {
	said := common.GetMetadata().GetFilterMetadata()[rbacFilter].GetFields()
	verdict, rule, reason := policy.Denied, policy.RuleID{}, "not valid HTTP"
	for _, prefix := range []string{"enforced", "shadow"} {
		result := said[prefix+"_engine_result"].GetStringValue()
		name, audited := strings.CutPrefix(said[prefix+"_effective_policy_id"].GetStringValue(), auditPrefix)
		id, _ := decodeRule(name)
		switch {
		case result == "" || result == "allowed" && name == passed:
		case result == "allowed" && audited:
			verdict, rule, reason = policy.Audited, id, "refused but for the rule's mode"
		case result == "allowed" && common.GetResponseFlags().GetRateLimited():
			return policy.Denied, id, "above the rule's rate"
		case result == "allowed":
			verdict, rule, reason = policy.Forwarded, id, ""
		case prefix == "shadow":
			return policy.Audited, id, reasonOf(name, id)
		default:
			return policy.Denied, id, reasonOf(name, id)
		}
	}
	return verdict, rule, reason
}

// reasonOf says in words what a name in the place of a rule's means.
func reasonOf(name string, rule policy.RuleID) string {
	switch {
	case name == badPathDeny:
		return "path can be read in two ways"
	case name == twoHostsDeny:
		return "more than one host"
	case rule != policy.RuleID{}:
		return "denied by rule"
	}
	return "no rule matched"
}

// addrPort returns the zero value for what is no IP address.
func addrPort(a *corev3.Address) netip.AddrPort {
	s := a.GetSocketAddress()
	ip, err := netip.ParseAddr(s.GetAddress())
	if err != nil || s.GetPortValue() > 65535 {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(s.GetPortValue()))
}

// method prefers the well-known ones' numbers; others travel as a header.
func method(req *logdatav3.HTTPRequestProperties) string {
	if m := req.GetRequestMethod(); m != corev3.RequestMethod_METHOD_UNSPECIFIED {
		return m.String()
	}
	return req.GetRequestHeaders()[methodHeader]
}

func versionName(v logdatav3.HTTPAccessLogEntry_HTTPVersion) string {
	switch v {
	case logdatav3.HTTPAccessLogEntry_HTTP10:
		return "HTTP/1.0"
	case logdatav3.HTTPAccessLogEntry_HTTP11:
		return "HTTP/1.1"
	case logdatav3.HTTPAccessLogEntry_HTTP2:
		return "HTTP/2"
	}
	return ""
}

// latency is the time from the request to the first byte of its answer, as a client sees it.
func latency(common *logdatav3.AccessLogCommon) time.Duration {
	if d := common.GetTimeToFirstDownstreamTxByte(); d != nil {
		return d.AsDuration()
	}
	return common.GetDuration().AsDuration()
}

// traceHeader is W3C's; no other header is read for the flows.
const traceHeader = "traceparent"

// traceID is the trace's part of such a header; "" if it is none, as it is the client's word.
func traceID(header string) string {
	parts := strings.Split(header, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || strings.Trim(parts[1], "0") == "" ||
		strings.Trim(parts[1], "0123456789abcdef") != "" {
		return ""
	}
	return parts[1]
}

// cut keeps a client's text short, printable and UTF-8: it goes to terminals and logs.
func cut(s string) string {
	if len(s) > maxText {
		end := maxText
		for end > maxText-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
}
