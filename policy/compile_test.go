package policy

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
)

func TestL7KindsConflict(t *testing.T) {
	s := sampleSnapshot()
	second := s.Policies[0]
	second.Ref.Name, second.UID = "second", "p2"
	rule := second.Specs[0].Ingress.Rules[0]
	rule.ID.Policy, rule.L7 = second.Ref, &Kafka{Rules: []KafkaRule{{}}}
	second.Specs = []Spec{{Path: "spec", Subject: second.Specs[0].Subject, Ingress: Section{DefaultDeny: true, Rules: []Rule{rule}}}}
	s.Policies = append(s.Policies, second)

	c := Compile(s)
	if got := c.Problems(); len(got) != 1 || got[0].Reason != ReasonConflict || got[0].Policy.Name != "second" {
		t.Fatalf("problems %+v, want one conflict on the second policy", got)
	}
	np := c.Node("n1")
	req := Request{Endpoint: addr("10.244.1.3"), Peer: addr("10.244.2.2"), Protocol: ProtocolTCP, Port: 80, HTTP: &HTTPRequest{Method: "GET", Path: "/data"}}
	if d := Decide(np, req); d.Verdict != Forwarded {
		t.Errorf("the first policy's request: %+v", d)
	}
	req.HTTP.Path = "/other"
	if d := Decide(np, req); d.Verdict != Denied {
		t.Errorf("the second policy opened something: %+v", d)
	}
}

func TestHostNetworkEndpoint(t *testing.T) {
	s := sampleSnapshot()
	s.Endpoints[0].HostNetwork = true
	s.Endpoints[0].Addrs = s.Nodes[0].Addrs
	c := Compile(s)
	np := c.Node("n1")
	want := []EndpointPolicy{
		{Key: "demo/backend-app", UID: "u1", Identity: 257, Addrs: s.Nodes[0].Addrs, HostNetwork: true},
		{Key: "demo/other", UID: "u3", Identity: 258, Addrs: s.Endpoints[2].Addrs},
	}
	if !reflect.DeepEqual(np.Endpoints, want) || len(np.Tables) != 0 || len(np.Applied) != 0 {
		t.Errorf("a host-network pod is enforced: %+v", np)
	}
	selected := map[Ref][]Selected{s.Policies[0].Ref: {{Key: "demo/backend-app", Node: "n1", HostNetwork: true}}}
	if !reflect.DeepEqual(c.Selected(), selected) {
		t.Errorf("selected %+v, want %+v", c.Selected(), selected)
	}
	if d := Decide(np, Request{Endpoint: s.Nodes[0].Addrs[0], Peer: addr("10.244.2.2"), Protocol: ProtocolTCP, Port: 80}); d.Verdict != Forwarded {
		t.Errorf("the node's own traffic: %+v", d)
	}
}

func TestClusterIsTheSameOnAllNodes(t *testing.T) {
	c := Compile(sampleSnapshot())
	addresses, identities := c.Cluster()
	for _, node := range []string{"n1", "n2"} {
		np := c.Node(node)
		for i, a := range np.Addresses {
			if a.Identity == IdentityHost && a.Node == node {
				a.Identity = IdentityRemoteNode
			}
			if a != addresses[i] {
				t.Errorf("%s: address %+v, want %+v", node, a, addresses[i])
			}
		}
		if !reflect.DeepEqual(np.Identities, identities) {
			t.Errorf("%s has identities of its own", node)
		}
		np.Addresses, np.Identities = nil, nil
		if !reflect.DeepEqual(np, c.Local(node)) {
			t.Errorf("%s: Local is %+v, want %+v", node, c.Local(node), np)
		}
	}
	if unknown := c.Node("n9"); len(unknown.Endpoints) != 0 || len(unknown.Addresses) != len(addresses) {
		t.Errorf("an unknown node: %+v", unknown)
	}
}

func TestOrderDoesNotMatter(t *testing.T) {
	s := bigSnapshot(200, 60)
	want := Compile(s).Node("n003")
	for i := range s.Policies {
		for _, r := range s.Policies[i].Specs[0].Ingress.Rules {
			slices.Reverse(r.Peers)
		}
	}
	slices.Reverse(s.Services)
	if got := Compile(s).Node("n003"); !reflect.DeepEqual(got, want) {
		t.Error("the order of peers or services changed the result")
	}
}

func TestIdentityNumbers(t *testing.T) {
	text := func(p netip.Prefix) string { return p.String() }
	var keys []netip.Prefix
	for i := range 200 {
		keys = append(keys, netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i), 0, 0, 0}), 8))
	}
	got := identityNumbers(keys, text, FirstCIDRIdentity, 1<<29)
	seen := map[Identity]bool{}
	for _, k := range keys {
		if id := got[k]; id < FirstCIDRIdentity || id >= FirstNodeIdentity || seen[id] {
			t.Fatalf("%s has number %d", k, id)
		}
		seen[got[k]] = true
		if alone := identityNumbers([]netip.Prefix{k}, text, FirstCIDRIdentity, 1<<29); alone[k] != got[k] {
			t.Errorf("%s has another number alone", k)
		}
	}
	// In a space with just enough room every hash meets another, and all get a number.
	if full := identityNumbers(keys, text, 1, uint64(len(keys))); len(full) != len(keys) {
		t.Errorf("%d of %d keys have a number", len(full), len(keys))
	}
}

func TestTwoPodsWithOneAddress(t *testing.T) {
	s := sampleSnapshot()
	s.Endpoints[2].Addrs = s.Endpoints[1].Addrs
	if id := Resolve(s, "n1").IdentityOf(addr("10.244.2.2")); id != IdentityUnmanaged {
		t.Errorf("the address of two pods has identity %d", id)
	}
}
