package flow

import (
	"net/netip"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

// The types of events, and the matches of a policy verdict, as Cilium numbers them.
const (
	typeDrop    = 1
	typeVerdict = 5
	typeL7      = 129

	// matchNone is the default: no rule decided. matchRule is used for every rule's
	// decision; the event does not say how wide its peers and ports are.
	matchNone = 0
	matchRule = 2
)

// base has what all flows of the event have.
func (c converter) base() *flowpb.Flow {
	e := c.event
	f := &flowpb.Flow{
		Time: timestamppb.New(e.Time), NodeName: clean(e.Node), Verdict: verdictOf(e.Verdict),
		Source: c.people.endpoint(e.Src.Addr(), e.SrcID), Destination: c.people.endpoint(e.Dst.Addr(), e.DstID),
		IP: ipOf(e.Src.Addr(), e.Dst.Addr()), L4: layer4(e.Protocol, e.Src.Port(), e.Dst.Port()),
		TrafficDirection: trafficDirection(e.Direction), IsReply: wrapperspb.Bool(false),
		Type: flowpb.FlowType_L3_L4, DestinationNames: c.names,
		SourceService: c.people.service(e.Src.Addr()), DestinationService: c.people.service(e.Dst.Addr()),
	}
	if e.HTTP != nil && e.HTTP.TraceID != "" {
		f.TraceContext = &flowpb.TraceContext{Parent: &flowpb.TraceParent{TraceId: clean(e.HTTP.TraceID)}}
	}
	c.name(f)
	if e.Verdict == policy.Denied || e.Verdict == policy.Audited {
		f.DropReasonDesc = dropReason(e.DropReason)
	}
	return f
}

// name fills in the policies that decided. A packet that was dropped for another reason
// was not denied by the policy that would have let it in.
func (c converter) name(f *flowpb.Flow) {
	if c.event.HTTP == nil && c.event.TLS == nil && c.event.DNS == nil && c.event.Kafka == nil && c.event.Verdict == policy.Denied && !byPolicy(c.event.DropReason) {
		return
	}
	list := make([]*flowpb.Policy, 0, len(c.by))
	for _, ref := range c.by {
		if ref.Name != "" {
			list = append(list, &flowpb.Policy{Kind: clean(ref.Kind), Namespace: clean(ref.Namespace), Name: clean(ref.Name)})
		}
	}
	refused := c.event.Verdict == policy.Denied || c.event.Verdict == policy.Audited
	switch egress := c.event.Direction == policy.Egress; {
	case egress && refused:
		f.EgressDeniedBy = list
	case egress:
		f.EgressAllowedBy = list
	case refused:
		f.IngressDeniedBy = list
	default:
		f.IngressAllowedBy = list
	}
}

// verdict is the flow that only says what was decided.
func (c converter) verdict() *flowpb.Flow {
	f := c.base()
	f.EventType = &flowpb.CiliumEventType{Type: typeVerdict}
	f.PolicyMatchType = matchNone
	if c.event.Rule != (policy.RuleID{}) {
		f.PolicyMatchType = matchRule
	}
	f.Summary = c.summary() //nolint:staticcheck // the CLI prints nothing else
	if rule := c.event.Rule; rule.Path != "" {
		f.PolicyLog = []string{clean(rule.Path)}
	}
	if c.event.Verdict == policy.Forwarded && c.event.DropReason != "" {
		// It went on because its failurePolicy is Open, and nothing else let it.
		unjudged := "not judged at layer 7: " + clean(c.event.DropReason)
		f.PolicyLog = append(f.PolicyLog, unjudged)
		f.Summary += ", " + unjudged //nolint:staticcheck // the CLI prints nothing else
	}
	return f
}

// summary is a connection in a word. A server name is what the client says, and not who
// is behind the address: it is no destination name.
func (c converter) summary() string {
	switch tls := c.event.TLS; {
	case tls == nil:
		return protocolName(c.event.Protocol)
	case tls.ServerName == "":
		return "TCP no TLS server name"
	default:
		return "TLS " + clean(tls.ServerName)
	}
}

// drop is the flow of a packet that was dropped.
func (c converter) drop() *flowpb.Flow {
	f := c.base()
	f.EventType = &flowpb.CiliumEventType{Type: typeDrop, SubType: int32(f.DropReasonDesc)}
	f.DropReason = uint32(f.DropReasonDesc) //nolint:staticcheck // older readers know no other
	f.Summary = c.summary()                 //nolint:staticcheck // the CLI prints nothing else
	return f
}

// request is the flow of an HTTP request. One that was refused has the status of the answer.
func (c converter) request() *flowpb.Flow {
	if c.event.DNS != nil {
		return c.dnsFlow(false)
	}
	f, h := c.base(), c.event.HTTP
	f.Type, f.EventType = flowpb.FlowType_L7, &flowpb.CiliumEventType{Type: typeL7}
	http := c.http()
	if c.event.Verdict == policy.Denied {
		http.Code = uint32(max(h.Code, 0))
	}
	f.L7 = &flowpb.Layer7{Type: flowpb.L7FlowType_REQUEST, Record: &flowpb.Layer7_Http{Http: http}}
	f.Summary = requestSummary(http.Protocol, http.Method, http.Url) //nolint:staticcheck // the CLI prints nothing else
	return f
}

// response is the flow of the server's answer, from the server to the client.
func (c converter) response() *flowpb.Flow {
	if c.event.DNS != nil {
		return c.dnsFlow(true)
	}
	h := c.event.HTTP
	f := c.base()
	f.Type, f.EventType = flowpb.FlowType_L7, &flowpb.CiliumEventType{Type: typeL7}
	f.Verdict, f.DropReasonDesc = flowpb.Verdict_FORWARDED, flowpb.DropReason_DROP_REASON_UNKNOWN
	c.turn(f, h.Latency)
	http := c.http()
	http.Code = uint32(h.Code)
	latency := max(h.Latency, 0)
	f.L7 = &flowpb.Layer7{Type: flowpb.L7FlowType_RESPONSE, LatencyNs: uint64(latency), Record: &flowpb.Layer7_Http{Http: http}}
	f.Summary = responseSummary(http.Protocol, h.Code, latency, http.Method, http.Url) //nolint:staticcheck // the CLI prints nothing else
	return f
}

// turn makes a flow one of the answer, which the server gave so long after the question.
func (c converter) turn(f *flowpb.Flow, latency time.Duration) {
	f.Source, f.Destination = f.GetDestination(), f.GetSource()
	f.SourceService, f.DestinationService = f.GetDestinationService(), f.GetSourceService()
	f.SourceNames, f.DestinationNames = f.GetDestinationNames(), f.GetSourceNames()
	f.IP = ipOf(c.event.Dst.Addr(), c.event.Src.Addr())
	f.L4 = layer4(c.event.Protocol, c.event.Dst.Port(), c.event.Src.Port())
	f.IsReply = wrapperspb.Bool(true)
	f.Time = timestamppb.New(c.event.Time.Add(latency))
}

func (c converter) http() *flowpb.HTTP {
	h := c.event.HTTP
	return &flowpb.HTTP{Method: clean(h.Method), Url: urlOf(h, c.queries), Protocol: clean(h.Version)}
}

func verdictOf(v policy.Verdict) flowpb.Verdict {
	switch v {
	case policy.Forwarded:
		return flowpb.Verdict_FORWARDED
	case policy.Redirected:
		return flowpb.Verdict_REDIRECTED
	case policy.Audited:
		return flowpb.Verdict_AUDIT
	}
	return flowpb.Verdict_DROPPED
}

func ipOf(src, dst netip.Addr) *flowpb.IP {
	ip := &flowpb.IP{Source: src.Unmap().String(), Destination: dst.Unmap().String(), IpVersion: flowpb.IPVersion_IPv4}
	if !dst.Unmap().Is4() {
		ip.IpVersion = flowpb.IPVersion_IPv6
	}
	return ip
}

// layer4 has no port for ICMP: an event's is its type, in the high byte.
func layer4(p policy.Protocol, src, dst uint16) *flowpb.Layer4 {
	from, to := uint32(src), uint32(dst)
	switch p {
	case policy.ProtocolTCP:
		return &flowpb.Layer4{Protocol: &flowpb.Layer4_TCP{TCP: &flowpb.TCP{SourcePort: from, DestinationPort: to}}}
	case policy.ProtocolUDP:
		return &flowpb.Layer4{Protocol: &flowpb.Layer4_UDP{UDP: &flowpb.UDP{SourcePort: from, DestinationPort: to}}}
	case policy.ProtocolSCTP:
		return &flowpb.Layer4{Protocol: &flowpb.Layer4_SCTP{SCTP: &flowpb.SCTP{SourcePort: from, DestinationPort: to}}}
	case policy.ProtocolICMP:
		return &flowpb.Layer4{Protocol: &flowpb.Layer4_ICMPv4{ICMPv4: &flowpb.ICMPv4{Type: to >> 8}}}
	case policy.ProtocolICMPv6:
		return &flowpb.Layer4{Protocol: &flowpb.Layer4_ICMPv6{ICMPv6: &flowpb.ICMPv6{Type: to >> 8}}}
	}
	return nil
}

func protocolName(p policy.Protocol) string {
	switch p {
	case policy.ProtocolTCP:
		return "TCP"
	case policy.ProtocolUDP:
		return "UDP"
	case policy.ProtocolSCTP:
		return "SCTP"
	case policy.ProtocolICMP:
		return "ICMPv4"
	case policy.ProtocolICMPv6:
		return "ICMPv6"
	}
	return "IP"
}

// byPolicy is true for the reasons that a verdict of a table or of L7 rules has.
func byPolicy(reason string) bool { return reason == "policy" || reason == "" }

// dropReason is Hubble's nearest word for why the data path dropped a packet, of those that
// its CLI prints as what they are called. The reasons that Envoy gives are all the policy's.
func dropReason(reason string) flowpb.DropReason {
	switch reason {
	case "spoofed", "foreign":
		return flowpb.DropReason_INVALID_SOURCE_IP
	case "malformed", "proxy-frame":
		return flowpb.DropReason_INVALID_PACKET_DROPPED
	case "ethertype":
		return flowpb.DropReason_UNSUPPORTED_L3_PROTOCOL
	case "unsupported":
		return flowpb.DropReason_UNKNOWN_L4_PROTOCOL
	case "fragment":
		return flowpb.DropReason_IP_FRAGMENTATION_NOT_SUPPORTED
	case "midstream", "reclassed", "cut":
		return flowpb.DropReason_UNKNOWN_CONNECTION_TRACKING_STATE
	case "no-proxy", "no-listener":
		return flowpb.DropReason_SOCKET_LOOKUP_FAILED
	case "client-limit", "class-limit":
		return flowpb.DropReason_DROP_RATE_LIMITED
	case "no-endpoint":
		return flowpb.DropReason_NO_MATCHING_LOCAL_CONTAINER_FOUND //nolint:staticcheck // there is no better word
	}
	return flowpb.DropReason_POLICY_DENIED
}

// timeOf is a flow's time.
func timeOf(f *flowpb.Flow) time.Time { return f.GetTime().AsTime() }
