package policy

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExplain(t *testing.T) {
	ref := Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "p"}
	at := func(path string) RuleID { return RuleID{Policy: ref, Path: path} }
	frontend, admin := FirstClusterIdentity, FirstClusterIdentity+1
	np := NodePolicy{
		Endpoints: []EndpointPolicy{{Key: "demo/backend", Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.2")}, Ingress: "t"}},
		Addresses: []Address{
			{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Identity: frontend},
			{Prefix: netip.MustParsePrefix("10.0.0.3/32"), Identity: admin},
		},
		Tables: []Table{{ID: "t", DefaultDeny: true, Entries: []Entry{
			{Identity: frontend, Protocol: ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: Redirected, Class: "c", Rules: []RuleID{at("spec.ingress[0]")}},
			{Identity: admin, Protocol: ProtocolTCP, Port: 9000, PrefixLen: 16, Verdict: Forwarded, Rules: []RuleID{at("spec.ingress[1]")}},
		}}},
		Classes: []Class{{ID: "c", HTTP: []HTTPRule{
			{ID: at("spec.ingress[0].http[0]"), Methods: []StringMatch{{Kind: MatchExact, Value: "GET"}}, Path: StringMatch{Kind: MatchPrefix, Value: "/data"}},
			{ID: at("spec.ingress[0].http[1]"), Path: StringMatch{Kind: MatchExact, Value: "/health"}},
		}}},
	}
	request := Request{Endpoint: netip.MustParseAddr("10.0.0.2"), Peer: netip.MustParseAddr("10.0.0.1"), Protocol: ProtocolTCP, Port: 80}
	for name, test := range map[string]struct {
		change func(*Request)
		want   []Answer
	}{
		"HTTP": {func(r *Request) { r.HTTP = &HTTPRequest{Method: "POST", Path: "/health", Host: "b"} }, []Answer{
			{Rule: at("spec.ingress[0].http[0]"), Why: `the method "POST" is not exactly "GET"`},
			{Rule: at("spec.ingress[0].http[1]"), Holds: true},
			{Rule: at("spec.ingress[1]"), Why: "it is for other peers"},
		}},
		"another port": {func(r *Request) { r.Port = 81 }, []Answer{
			{Rule: at("spec.ingress[0]"), Why: "it is for other ports or protocols"},
			{Rule: at("spec.ingress[1]"), Why: "it is for other peers"},
		}},
		"a rule without layer 7": {func(r *Request) { r.Peer, r.Port = netip.MustParseAddr("10.0.0.3"), 9000 }, []Answer{
			{Rule: at("spec.ingress[0]"), Why: "it is for other peers"},
			{Rule: at("spec.ingress[1]"), Holds: true},
		}},
		"not selected": {func(r *Request) { r.Direction = Egress }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := request
			test.change(&r)
			if diff := cmp.Diff(test.want, Explain(np, r)); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
		})
	}
}
