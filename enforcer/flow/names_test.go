package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

// lookup is an answer to the frontend, or to another client.
func lookup(client, name string, addrs ...string) policy.Event {
	e := policy.Event{Time: noon, Direction: policy.Egress, Verdict: policy.Forwarded, Protocol: policy.ProtocolUDP,
		Src: addrPort(client), Dst: addrPort("192.0.2.53:53"), DNS: &policy.DNSEvent{Name: name, Type: 1}}
	for _, a := range addrs {
		e.DNS.Addrs = append(e.DNS.Addrs, netip.MustParseAddr(a))
	}
	return e
}

func TestNamesServicesAndTraces(t *testing.T) {
	r := recorder(t, Config{})
	np := known()
	np.Addresses = append(np.Addresses, policy.Address{Prefix: netip.MustParsePrefix("10.96.0.9/32"), Identity: policy.FirstServiceIdentity, Service: "demo/backend"})
	r.Know(np)
	r.Add(lookup("10.0.0.1:4000", "www.example.com", "203.0.113.9"), nil)
	refused := lookup("10.0.0.1:4000", "not-this.example", "203.0.113.9")
	refused.Verdict = policy.Denied
	r.Add(refused, nil)
	r.Add(lookup("10.0.0.7:4000", "nor-this.example", "203.0.113.9"), nil)
	outside := request(policy.Forwarded, "GET", "/", 200)
	outside.Direction, outside.Dst = policy.Egress, addrPort("203.0.113.9:80")
	outside.HTTP.TraceID = "0af7651916cd43dd8448eb211c80319c"
	r.Add(outside, nil)
	virtual := packet(policy.Denied, "policy", "10.0.0.1:40000")
	virtual.Direction, virtual.Dst = policy.Egress, addrPort("10.96.0.9:80")
	r.Add(virtual, nil)
	for name, c := range map[string]struct {
		filter *flowpb.FlowFilter
		want   []string
	}{
		"to-fqdn":         {&flowpb.FlowFilter{DestinationFqdn: []string{"*.example.com"}}, []string{"HTTP/1.1 GET http://backend-app/"}},
		"from-fqdn":       {&flowpb.FlowFilter{SourceFqdn: []string{"WWW.example.com."}}, []string{"HTTP/1.1 200 12ms (GET http://backend-app/)"}},
		"nobody was told": {&flowpb.FlowFilter{DestinationFqdn: []string{"*-this.example"}}, nil},
		"the whole name":  {&flowpb.FlowFilter{DestinationFqdn: []string{"example.com"}}, nil},
		"dns query":       {&flowpb.FlowFilter{DnsQuery: []string{"^nor-"}, SourceIp: []string{"10.0.0.7"}}, []string{"DNS Query nor-this.example. A"}},
		"trace":           {&flowpb.FlowFilter{TraceId: []string{"0AF7651916cd43dd8448eb211c80319c"}, Reply: []bool{false}}, []string{"HTTP/1.1 GET http://backend-app/"}},
		"to-service":      {&flowpb.FlowFilter{DestinationService: []string{"demo/back"}}, []string{"TCP", "TCP"}},
		"another service": {&flowpb.FlowFilter{DestinationService: []string{"demo/front"}}, nil},
		"no service":      {&flowpb.FlowFilter{SourceService: []string{"demo/"}}, nil},
		"protocol dns":    {&flowpb.FlowFilter{Protocol: []string{"dns"}, Verdict: []flowpb.Verdict{flowpb.Verdict_DROPPED}}, []string{"DNS Query not-this.example. A"}},
		"protocol kafka":  {&flowpb.FlowFilter{Protocol: []string{"kafka"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := newSelection([]*flowpb.FlowFilter{c.filter}, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range r.all() {
				if s.has(f) {
					got = append(got, f.GetSummary()) //nolint:staticcheck // the text is nowhere else
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("it selects %q and should select %q", got, c.want)
			}
		})
	}
	if _, err := newSelection([]*flowpb.FlowFilter{{DnsQuery: []string{"("}}}, nil); err == nil {
		t.Error("an expression that is none was taken")
	}
}

// A server that answers with ever new names and addresses must not fill the memory.
func TestNamesAreBounded(t *testing.T) {
	var n names
	first := lookup("10.0.0.1:1", "first.example", "10.9.0.1")
	n.learn(first)
	for i := range maxNames + 3 {
		n.learn(lookup("10.0.0.1:1", fmt.Sprintf("n%d.example", i), "10.9.0.2"))
	}
	first.Dst = addrPort("10.9.0.2:80")
	if got := n.of(first); len(got) != maxNames || got[maxNames-1] != fmt.Sprintf("n%d.example", maxNames+2) {
		t.Errorf("the names are %q", got)
	}
	for i := range maxNamed {
		n.learn(lookup("10.0.0.1:1", "many.example", fmt.Sprintf("10.8.%d.%d", i/256, i%256)))
	}
	if len(n.known) != maxNamed || len(n.order) != maxNamed {
		t.Errorf("%d addresses are known, in an order of %d", len(n.known), len(n.order))
	}
	if got := n.of(first); got != nil {
		t.Errorf("the oldest is still known as %q", got)
	}
}
