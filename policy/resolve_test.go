package policy

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

func labelsOf(app string) Labels { return Labels{"k8s:app": app, LabelNamespace: "demo"} }

func podSelector(app string) Selector {
	return Selector{Requirements: []Requirement{{Key: "k8s:app", Operator: In, Values: []string{app}}, {Key: LabelNamespace, Operator: In, Values: []string{"demo"}}}}
}

// sampleSnapshot is the announcement's own example on two nodes.
func sampleSnapshot() Snapshot {
	ref := Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "allow-get-data"}
	backend := podSelector("backend-app")
	frontend := podSelector("frontend-app")
	return Snapshot{
		Nodes: []Node{
			{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.2")}},
			{Name: "n2", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.3")}},
		},
		Identities: []IdentityLabels{{256, labelsOf("frontend-app")}, {257, labelsOf("backend-app")}, {258, labelsOf("other")}},
		Endpoints: []Endpoint{
			{Key: "demo/backend-app", UID: "u1", Node: "n1", Identity: 257, Labels: labelsOf("backend-app"), Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.3")}},
			{Key: "demo/frontend-app", UID: "u2", Node: "n2", Identity: 256, Labels: labelsOf("frontend-app"), Addrs: []netip.Addr{netip.MustParseAddr("10.244.2.2")}},
			{Key: "demo/other", UID: "u3", Node: "n1", Identity: 258, Labels: labelsOf("other"), Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.4")}},
		},
		Policies: []Policy{{
			Ref: ref, UID: "p1", Generation: 3,
			Specs: []Spec{{Path: "spec", Subject: backend, Ingress: Section{DefaultDeny: true, Rules: []Rule{{
				ID:    RuleID{Policy: ref, Path: "spec.ingress[0].toPorts[0]"},
				Peers: []Peer{{Selector: &frontend}},
				Ports: []Port{{Protocol: ProtocolTCP, Port: 80}},
				L7: &HTTP{Rules: []HTTPRule{{
					ID:      RuleID{Policy: ref, Path: "spec.ingress[0].toPorts[0].rules.http[0]"},
					Methods: []StringMatch{{MatchRegex, "GET"}}, Path: StringMatch{MatchRegex, "/data"},
				}}},
			}}}}},
		}},
	}
}

func TestResolveSample(t *testing.T) {
	s := sampleSnapshot()
	np := Resolve(s, "n1")
	rule := s.Policies[0].Specs[0].Ingress.Rules[0]
	if len(np.Tables) != 1 || len(np.Classes) != 1 {
		t.Fatalf("%d tables and %d classes, want one of each", len(np.Tables), len(np.Classes))
	}
	table, class := np.Tables[0], np.Classes[0]
	want := NodePolicy{
		Node: "n1",
		Endpoints: []EndpointPolicy{
			{Key: "demo/backend-app", UID: "u1", Identity: 257, Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.3")}, Ingress: table.ID},
			{Key: "demo/other", UID: "u3", Identity: 258, Addrs: []netip.Addr{netip.MustParseAddr("10.244.1.4")}},
		},
		Tables: []Table{{ID: table.ID, DefaultDeny: true, Denying: []Ref{rule.ID.Policy}, Entries: []Entry{
			{Identity: IdentityHost, Verdict: Forwarded},
			{Identity: 256, Protocol: ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: Redirected, Class: class.ID, Rules: []RuleID{rule.ID}},
		}}},
		Classes: []Class{{ID: class.ID, HTTP: rule.L7.(*HTTP).Rules}},
		Applied: []AppliedPolicy{{Ref: rule.ID.Policy, UID: "p1", Generation: 3}},
		Addresses: []Address{
			{Prefix: netip.MustParsePrefix("10.244.1.3/32"), Identity: 257, Node: "n1", Namespace: "demo", Pod: "backend-app"},
			{Prefix: netip.MustParsePrefix("10.244.1.4/32"), Identity: 258, Node: "n1", Namespace: "demo", Pod: "other"},
			{Prefix: netip.MustParsePrefix("10.244.2.2/32"), Identity: 256, Node: "n2", Namespace: "demo", Pod: "frontend-app"},
			{Prefix: netip.MustParsePrefix("172.18.0.2/32"), Identity: IdentityHost, Node: "n1"},
			{Prefix: netip.MustParsePrefix("172.18.0.3/32"), Identity: IdentityRemoteNode, Node: "n2"},
		},
		Identities: np.Identities,
	}
	if !reflect.DeepEqual(np, want) {
		t.Errorf("node n1:\n got %+v\nwant %+v", np, want)
	}
	if !slices.ContainsFunc(np.Identities, func(l IdentityLabels) bool { return l.Identity == 258 && l.Labels["k8s:app"] == "other" }) {
		t.Errorf("identities: %+v", np.Identities)
	}
	if n2 := Resolve(s, "n2"); slices.ContainsFunc(n2.Endpoints, EndpointPolicy.Policed) || len(n2.Tables)+len(n2.Classes)+len(n2.Applied) != 0 {
		t.Errorf("node n2 has something to enforce: %+v", n2)
	}
	// An edited rule keeps its table and class.
	s.Policies[0].Specs[0].Ingress.Rules[0].L7.(*HTTP).Rules[0].Path.Value = "/other"
	if edited := Resolve(s, "n1"); edited.Tables[0].ID != table.ID || edited.Classes[0].ID != class.ID {
		t.Errorf("the edited rule has another table or class: %+v", edited)
	}
}

func TestDecideSample(t *testing.T) {
	np := Resolve(sampleSnapshot(), "n1")
	backend, frontend, other := netip.MustParseAddr("10.244.1.3"), netip.MustParseAddr("10.244.2.2"), netip.MustParseAddr("10.244.1.4")
	for _, c := range []struct {
		name string
		peer netip.Addr
		to   netip.Addr
		port uint16
		http *HTTPRequest
		want Verdict
		rule string
	}{
		{"allowed", frontend, backend, 80, &HTTPRequest{Method: "GET", Path: "/data"}, Forwarded, "spec.ingress[0].toPorts[0].rules.http[0]"},
		{"layer 4", frontend, backend, 80, nil, Redirected, "spec.ingress[0].toPorts[0]"},
		{"other path", frontend, backend, 80, &HTTPRequest{Method: "GET", Path: "/other"}, Denied, ""},
		{"other method", frontend, backend, 80, &HTTPRequest{Method: "POST", Path: "/data"}, Denied, ""},
		{"other port", frontend, backend, 81, nil, Denied, ""},
		{"other client", other, backend, 80, nil, Denied, ""},
		{"world", netip.MustParseAddr("8.8.8.8"), backend, 80, nil, Denied, ""},
		{"other node", netip.MustParseAddr("172.18.0.3"), backend, 80, nil, Denied, ""},
		{"own node", netip.MustParseAddr("172.18.0.2"), backend, 80, nil, Forwarded, ""},
		{"not selected", frontend, other, 80, nil, Forwarded, ""},
	} {
		d := Decide(np, Request{Endpoint: c.to, Peer: c.peer, Protocol: ProtocolTCP, Port: c.port, HTTP: c.http})
		if d.Verdict != c.want || d.Rule.Path != c.rule {
			t.Errorf("%s: %+v, want verdict %d by %q", c.name, d, c.want, c.rule)
		}
	}
	if d := Decide(np, Request{Direction: Egress, Endpoint: backend, Peer: other}); d.Verdict != Forwarded {
		t.Errorf("egress without a policy: %+v", d)
	}
}
