// Package draw makes random policies, pods and requests of bytes, so that a fuzzer can steer
// them. What it draws is small and out of few words, so that policies and requests meet: each
// backend is compared with the oracle on it.
package draw

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// Draw draws of Data; where that has ended, it draws the first of each choice.
type Draw struct{ Data []byte }

// N draws a number below k.
func (d *Draw) N(k int) int {
	if len(d.Data) == 0 {
		return 0
	}
	b := d.Data[0]
	d.Data = d.Data[1:]
	return int(b) % k
}

// yes is true once in oneIn.
func (d *Draw) yes(oneIn int) bool { return d.N(oneIn) == oneIn-1 }

// Pick draws one of from.
func Pick[T any](d *Draw, from ...T) T { return from[d.N(len(from))] }

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// Snapshot draws a cluster of two nodes, a few pods, two services and some policies.
func (d *Draw) Snapshot() policy.Snapshot {
	s := policy.Snapshot{
		Nodes: []policy.Node{
			{Name: "n1", Addrs: []netip.Addr{addr("172.18.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}},
			{Name: "n2", Addrs: []netip.Addr{addr("172.18.0.2")}},
		},
		APIServer: [][]netip.Addr{nil, {addr("172.18.0.1")}, {addr("192.0.2.1")}, {addr("192.0.2.1"), addr("192.0.2.2")}}[d.N(4)],
	}
	for i := range s.Nodes {
		s.Nodes[i].Labels = policy.Labels{"node:role": Pick(d, "edge", "core"), "node:zone": Pick(d, "1", "2")}
		if d.yes(4) {
			s.Nodes[i].Labels = nil
		}
	}
	for i := range 5 {
		app := Pick(d, "a", "b", "c")
		ns := Pick(d, "x", "y")
		e := policy.Endpoint{Key: fmt.Sprintf("%s/p%d", ns, i), Node: Pick(d, "n1", "n2"), Labels: policy.Labels{"k8s:app": app, policy.LabelNamespace: ns},
			Identity: policy.FirstClusterIdentity + policy.Identity(app[0]-'a')*2 + policy.Identity(ns[0]-'x'), Addrs: []netip.Addr{addr(fmt.Sprintf("10.%d.0.1%d", 1+d.N(2), i))}}
		if d.yes(2) {
			e.Ports = []policy.NamedPort{{Name: "http", Protocol: policy.ProtocolTCP, Port: Pick[uint16](d, 80, 8080)}}
		}
		e.HostNetwork = d.yes(12)
		if e.HostNetwork {
			e.Addrs = s.Nodes[0].Addrs
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	for i, key := range []string{"x/svc", "y/svc"} {
		svc := policy.Service{Key: key, Addrs: []netip.Addr{addr(fmt.Sprintf("10.96.0.%d", i+1))}, Ports: []policy.ServicePort{{Protocol: policy.ProtocolTCP, Port: 80}}}
		for range d.N(3) {
			to := Pick(d, s.Endpoints[0].Addrs[0], s.Endpoints[1].Addrs[0], s.Endpoints[2].Addrs[0], addr("203.0.113.7"), addr("172.18.0.1"), addr("172.18.0.2"), addr("172.18.0.2"))
			svc.Ports[0].Backends = append(svc.Ports[0].Backends, netip.AddrPortFrom(to, Pick[uint16](d, 80, 8080)))
		}
		s.Services = append(s.Services, svc)
	}
	for i := range 1 + d.N(4) {
		s.Policies = append(s.Policies, d.policy(i))
	}
	return withoutDoubles(s)
}

func (d *Draw) policy(i int) policy.Policy {
	p := policy.Policy{Ref: policy.Ref{Kind: "P", Name: fmt.Sprint("p", i)}, UID: fmt.Sprint(i), Generation: 1}
	if d.yes(4) {
		p.Mode = policy.Audit
	}
	if d.yes(2) {
		p.Failure = policy.FailOpen
	}
	spec := policy.Spec{Path: "spec", Subject: d.selector()}
	spec.Ingress = d.section(p.Ref, "spec.ingress")
	if d.yes(2) {
		spec.Egress = d.section(p.Ref, "spec.egress")
	}
	p.Specs = []policy.Spec{spec}
	return p
}

func (d *Draw) selector() policy.Selector {
	var s policy.Selector
	if d.yes(2) {
		s.Requirements = append(s.Requirements, policy.Requirement{Key: Pick(d, "k8s:app", "any:app"), Operator: Pick(d, policy.In, policy.NotIn), Values: []string{Pick(d, "a", "b")}})
	}
	if d.yes(3) {
		s.Requirements = append(s.Requirements, policy.Requirement{Key: policy.LabelNamespace, Operator: Pick(d, policy.In, policy.Exists, policy.DoesNotExist), Values: []string{"x"}})
	}
	return s
}

func (d *Draw) section(ref policy.Ref, path string) policy.Section {
	s := policy.Section{DefaultDeny: !d.yes(4)}
	for i := range d.N(4) {
		r := policy.Rule{ID: policy.RuleID{Policy: ref, Path: fmt.Sprintf("%s[%d]", path, i)}}
		if d.yes(4) {
			r.Action = policy.Deny
			r.Audit = d.yes(4)
		}
		if r.AnyPeer = d.yes(4); !r.AnyPeer {
			for range 1 + d.N(2) {
				r.Peers = append(r.Peers, d.peer())
			}
		}
		for range d.N(3) {
			r.Ports = append(r.Ports, d.port())
		}
		if r.Action == policy.Allow && d.yes(2) {
			r.L7 = d.http(r.ID)
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

func (d *Draw) peer() policy.Peer {
	switch d.N(7) {
	case 6:
		return policy.Peer{Name: Pick[policy.NamePattern](d, "a.example", "*.example", "b.example", "a*.example")}
	case 5:
		s := policy.Selector{Requirements: []policy.Requirement{{Key: "reserved:" + Pick(d, "remote-node", "remote-node", "host"), Operator: policy.Exists},
			{Key: Pick(d, "node:role", "node:role", "node:zone"), Operator: Pick(d, policy.In, policy.In, policy.NotIn, policy.Exists, policy.DoesNotExist), Values: []string{Pick(d, "edge", "1")}}}}
		return policy.Peer{Selector: &s}
	case 0:
		p := netip.MustParsePrefix(Pick(d, "203.0.113.0/24", "203.0.113.7/32", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.128/25", "192.0.2.0/31", "192.0.2.1/32"))
		c := policy.CIDR{Prefix: p}
		if p.Bits() == 24 && d.yes(2) {
			c.Except = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")}
		}
		return policy.Peer{CIDR: &c}
	case 1:
		s := policy.Selector{Requirements: []policy.Requirement{{Key: "reserved:" + Pick(d, "world", "remote-node", "host", "remote-node", "kube-apiserver", "unmanaged"), Operator: policy.Exists}}}
		return policy.Peer{Selector: &s}
	case 2:
		return policy.Peer{Services: []string{Pick(d, "x/svc", "y/svc", "z/none")}}
	}
	s := d.selector()
	return policy.Peer{Selector: &s}
}

func (d *Draw) port() policy.Port {
	return Pick(d,
		policy.Port{Protocol: policy.ProtocolTCP, Port: 80}, policy.Port{Protocol: policy.ProtocolTCP, Port: 8080}, policy.Port{Protocol: policy.ProtocolTCP, Name: "http"},
		policy.Port{Protocol: policy.ProtocolAny, Port: 80}, policy.Port{Protocol: policy.ProtocolTCP, Port: 79, EndPort: 8081}, policy.Port{Protocol: policy.ProtocolUDP},
		policy.Port{Protocol: policy.ProtocolTCP}, policy.Port{Protocol: policy.ProtocolICMP, ICMPType: 8}, policy.Port{Protocol: policy.ProtocolICMP, ICMPType: -1}, policy.Port{Protocol: policy.ProtocolAny, Name: "http"})
}

func (d *Draw) http(id policy.RuleID) *policy.HTTP {
	h := &policy.HTTP{Audit: d.yes(5)}
	for i := range d.N(3) {
		r := policy.HTTPRule{ID: policy.RuleID{Policy: id.Policy, Path: fmt.Sprintf("%s.http[%d]", id.Path, i)}}
		r.Path = Pick(d, policy.StringMatch{}, policy.StringMatch{Kind: policy.MatchExact, Value: "/a"}, policy.StringMatch{Kind: policy.MatchPrefix, Value: "/a"}, policy.StringMatch{Kind: policy.MatchRegex, Value: "/(a|b)"})
		if d.yes(3) {
			r.Action, r.Audit = policy.Deny, h.Audit
		}
		h.Rules = append(h.Rules, r)
	}
	return h
}

// Request draws a request at one of the pods.
func (d *Draw) Request(s policy.Snapshot) policy.Request {
	peers := []netip.Addr{addr("172.18.0.1"), addr("172.18.0.2"), addr("10.96.0.1"), addr("10.96.0.2"), addr("10.96.0.1"), addr("10.96.0.2"), addr("203.0.113.7"), addr("203.0.113.99"),
		addr("8.8.8.8"), addr("10.1.0.200"), addr("10.9.9.9"), addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1")}
	for _, e := range s.Endpoints {
		peers = append(peers, e.Addrs[0])
	}
	r := policy.Request{Direction: Pick(d, policy.Ingress, policy.Egress), Endpoint: s.Endpoints[d.N(len(s.Endpoints))].Addrs[0], Peer: Pick(d, peers...),
		Protocol: Pick(d, policy.ProtocolTCP, policy.ProtocolTCP, policy.ProtocolTCP, policy.ProtocolUDP, policy.ProtocolICMP, policy.ProtocolSCTP),
		Port:     Pick[uint16](d, 80, 80, 80, 8080, 79, 8081, 8082, 0, 65535)}
	if r.Protocol == policy.ProtocolICMP {
		r.Port = Pick[uint16](d, 8<<8, 13<<8)
	}
	r.Unserved = d.yes(6)
	if r.Protocol == policy.ProtocolTCP && d.yes(2) {
		r.HTTP = &policy.HTTPRequest{Method: "GET", Path: Pick(d, "/a", "/b", "/c", "/ab", "/a%2f", "/a?x", "/b?x")}
	}
	return r
}

// withoutDoubles leaves out pods that drew the address of another.
func withoutDoubles(s policy.Snapshot) policy.Snapshot {
	seen := map[netip.Addr]bool{}
	s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e policy.Endpoint) bool {
		double := !e.HostNetwork && seen[e.Addrs[0]]
		seen[e.Addrs[0]] = true
		return double
	})
	return s
}
