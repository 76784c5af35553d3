package flow

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

func TestDNSFlows(t *testing.T) {
	r := recorder(t, Config{})
	event := policy.Event{Time: noon, Source: policy.SourceProxy, Direction: policy.Egress, Verdict: policy.Forwarded, Protocol: policy.ProtocolUDP,
		Rule: policy.RuleID{Policy: allow, Path: "spec.egress[0].toPorts[0].rules.dns[0]"}, Src: addrPort("10.0.0.1:40000"), Dst: addrPort("192.0.2.53:53"),
		DNS: &policy.DNSEvent{Name: "www.example.com", Type: 28, Addrs: []netip.Addr{netip.MustParseAddr("2001:db8::1")}, Aliases: []string{"a.cdn.net"}, TTL: 30, Latency: time.Millisecond}}
	r.Add(event, nil)
	event.Verdict, event.Rule, event.DropReason = policy.Denied, policy.RuleID{}, "no rule matched"
	event.DNS = &policy.DNSEvent{Name: "no.example\x1b[31m", Type: 65, Code: 5}
	r.Add(event, []policy.Ref{allow})
	flows := r.all()
	slices.SortStableFunc(flows, func(a, b *flowpb.Flow) int { return a.GetTime().AsTime().Compare(b.GetTime().AsTime()) })
	var questions, answers, refused int
	for _, f := range flows {
		d := f.GetL7().GetDns()
		switch {
		case d == nil:
			if f.GetVerdict() != flowpb.Verdict_DROPPED {
				t.Errorf("%v", f)
			}
		case f.GetL7().GetType() == flowpb.L7FlowType_RESPONSE:
			answers++
			if d.GetQuery() != "www.example.com." || d.GetIps()[0] != "2001:db8::1" || d.GetCnames()[0] != "a.cdn.net." || d.GetTtl() != 30 || !f.GetIsReply().GetValue() ||
				f.GetDestination().GetPodName() != "frontend-5f" || f.GetL7().GetLatencyNs() != 1e6 {
				t.Errorf("%v", f)
			}
		case f.GetVerdict() == flowpb.Verdict_DROPPED:
			refused++
			if d.GetQtypes()[0] != "HTTPS" || len(f.GetEgressDeniedBy()) != 1 || d.GetQuery() == "no.example\x1b[31m." {
				t.Errorf("%v", f)
			}
		default:
			questions++
			if d.GetQtypes()[0] != "AAAA" || len(f.GetEgressAllowedBy()) != 1 || f.GetSource().GetPodName() != "frontend-5f" {
				t.Errorf("%v", f)
			}
		}
	}
	if questions != 1 || answers != 1 || refused != 1 {
		t.Errorf("%d questions, %d answers, %d refusals in %v", questions, answers, refused, flows)
	}
}
