package policy

import (
	"fmt"
	"net/netip"
	"slices"
)

// draw makes small snapshots of bytes, so that a fuzzer can steer them.
type draw struct{ data []byte }

func (d *draw) n(k int) int {
	if len(d.data) == 0 {
		return 0
	}
	b := d.data[0]
	d.data = d.data[1:]
	return int(b) % k
}

func (d *draw) yes(oneIn int) bool { return d.n(oneIn) == oneIn-1 }

func pick[T any](d *draw, from ...T) T { return from[d.n(len(from))] }

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }

// snapshot draws a cluster of two nodes, a few pods, two services and some policies.
func (d *draw) snapshot() Snapshot {
	s := Snapshot{
		Nodes: []Node{
			{Name: "n1", Addrs: []netip.Addr{addr("172.18.0.1")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/24")}},
			{Name: "n2", Addrs: []netip.Addr{addr("172.18.0.2")}},
		},
		APIServer: [][]netip.Addr{nil, {addr("172.18.0.1")}, {addr("192.0.2.1")}, {addr("192.0.2.1"), addr("192.0.2.2")}}[d.n(4)],
	}
	for i := range s.Nodes {
		s.Nodes[i].Labels = Labels{"node:role": pick(d, "edge", "core"), "node:zone": pick(d, "1", "2")}
		if d.yes(4) {
			s.Nodes[i].Labels = nil
		}
	}
	for i := range 5 {
		app := pick(d, "a", "b", "c")
		ns := pick(d, "x", "y")
		e := Endpoint{Key: fmt.Sprintf("%s/p%d", ns, i), Node: pick(d, "n1", "n2"), Labels: Labels{"k8s:app": app, LabelNamespace: ns},
			Identity: FirstClusterIdentity + Identity(app[0]-'a')*2 + Identity(ns[0]-'x'), Addrs: []netip.Addr{addr(fmt.Sprintf("10.%d.0.1%d", 1+d.n(2), i))}}
		if d.yes(2) {
			e.Ports = []NamedPort{{"http", ProtocolTCP, pick[uint16](d, 80, 8080)}}
		}
		e.HostNetwork = d.yes(12)
		if e.HostNetwork {
			e.Addrs = s.Nodes[0].Addrs
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	for i, key := range []string{"x/svc", "y/svc"} {
		svc := Service{Key: key, Addrs: []netip.Addr{addr(fmt.Sprintf("10.96.0.%d", i+1))}, Ports: []ServicePort{{Protocol: ProtocolTCP, Port: 80}}}
		for range d.n(3) {
			to := pick(d, s.Endpoints[0].Addrs[0], s.Endpoints[1].Addrs[0], s.Endpoints[2].Addrs[0], addr("203.0.113.7"), addr("172.18.0.1"), addr("172.18.0.2"), addr("172.18.0.2"))
			svc.Ports[0].Backends = append(svc.Ports[0].Backends, netip.AddrPortFrom(to, pick[uint16](d, 80, 8080)))
		}
		s.Services = append(s.Services, svc)
	}
	for i := range 1 + d.n(4) {
		s.Policies = append(s.Policies, d.policy(i))
	}
	return s
}

func (d *draw) policy(i int) Policy {
	p := Policy{Ref: Ref{Kind: "P", Name: fmt.Sprint("p", i)}, UID: fmt.Sprint(i), Generation: 1}
	if d.yes(4) {
		p.Mode = Audit
	}
	spec := Spec{Path: "spec", Subject: d.selector()}
	spec.Ingress = d.section(p.Ref, "spec.ingress")
	if d.yes(2) {
		spec.Egress = d.section(p.Ref, "spec.egress")
	}
	p.Specs = []Spec{spec}
	return p
}

func (d *draw) selector() Selector {
	var s Selector
	if d.yes(2) {
		s.Requirements = append(s.Requirements, Requirement{Key: pick(d, "k8s:app", "any:app"), Operator: pick(d, In, NotIn), Values: []string{pick(d, "a", "b")}})
	}
	if d.yes(3) {
		s.Requirements = append(s.Requirements, Requirement{Key: LabelNamespace, Operator: pick(d, In, Exists, DoesNotExist), Values: []string{"x"}})
	}
	return s
}

func (d *draw) section(ref Ref, path string) Section {
	s := Section{DefaultDeny: !d.yes(4)}
	for i := range d.n(4) {
		r := Rule{ID: RuleID{Policy: ref, Path: fmt.Sprintf("%s[%d]", path, i)}}
		if d.yes(4) {
			r.Action = Deny
		}
		if r.AnyPeer = d.yes(4); !r.AnyPeer {
			for range 1 + d.n(2) {
				r.Peers = append(r.Peers, d.peer())
			}
		}
		for range d.n(3) {
			r.Ports = append(r.Ports, d.port())
		}
		if r.Action == Allow && d.yes(2) {
			r.L7 = d.http(r.ID)
		}
		s.Rules = append(s.Rules, r)
	}
	return s
}

func (d *draw) peer() Peer {
	switch d.n(6) {
	case 5:
		s := Selector{Requirements: []Requirement{{Key: "reserved:" + pick(d, "remote-node", "remote-node", "host"), Operator: Exists},
			{Key: pick(d, "node:role", "node:role", "node:zone"), Operator: pick(d, In, In, NotIn, Exists, DoesNotExist), Values: []string{pick(d, "edge", "1")}}}}
		return Peer{Selector: &s}
	case 0:
		p := netip.MustParsePrefix(pick(d, "203.0.113.0/24", "203.0.113.7/32", "0.0.0.0/0", "10.0.0.0/8", "10.1.0.128/25", "192.0.2.0/31", "192.0.2.1/32"))
		c := CIDR{Prefix: p}
		if p.Bits() == 24 && d.yes(2) {
			c.Except = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/28")}
		}
		return Peer{CIDR: &c}
	case 1:
		s := Selector{Requirements: []Requirement{{Key: "reserved:" + pick(d, "world", "remote-node", "host", "remote-node", "kube-apiserver", "unmanaged"), Operator: Exists}}}
		return Peer{Selector: &s}
	case 2:
		return Peer{Services: []string{pick(d, "x/svc", "y/svc", "z/none")}}
	}
	s := d.selector()
	return Peer{Selector: &s}
}

func (d *draw) port() Port {
	return pick(d,
		Port{Protocol: ProtocolTCP, Port: 80}, Port{Protocol: ProtocolTCP, Port: 8080}, Port{Protocol: ProtocolTCP, Name: "http"},
		Port{Protocol: ProtocolAny, Port: 80}, Port{Protocol: ProtocolTCP, Port: 79, EndPort: 8081}, Port{Protocol: ProtocolUDP},
		Port{Protocol: ProtocolTCP}, Port{Protocol: ProtocolICMP, ICMPType: 8}, Port{Protocol: ProtocolICMP, ICMPType: -1}, Port{Protocol: ProtocolAny, Name: "http"})
}

func (d *draw) http(id RuleID) *HTTP {
	h := &HTTP{Audit: d.yes(5)}
	for i := range d.n(3) {
		r := HTTPRule{ID: RuleID{Policy: id.Policy, Path: fmt.Sprintf("%s.http[%d]", id.Path, i)}}
		r.Path = pick(d, StringMatch{}, StringMatch{MatchExact, "/a"}, StringMatch{MatchPrefix, "/a"}, StringMatch{MatchRegex, "/(a|b)"})
		if d.yes(3) {
			r.Action, r.Audit = Deny, h.Audit
		}
		h.Rules = append(h.Rules, r)
	}
	return h
}

// request draws a request at one of the pods.
func (d *draw) request(s Snapshot) Request {
	peers := []netip.Addr{addr("172.18.0.1"), addr("172.18.0.2"), addr("10.96.0.1"), addr("10.96.0.2"), addr("10.96.0.1"), addr("10.96.0.2"), addr("203.0.113.7"), addr("203.0.113.99"),
		addr("8.8.8.8"), addr("10.1.0.200"), addr("10.9.9.9"), addr("192.0.2.1"), addr("192.0.2.2"), addr("2001:db8::1")}
	for _, e := range s.Endpoints {
		peers = append(peers, e.Addrs[0])
	}
	r := Request{Direction: pick(d, Ingress, Egress), Endpoint: s.Endpoints[d.n(len(s.Endpoints))].Addrs[0], Peer: pick(d, peers...),
		Protocol: pick(d, ProtocolTCP, ProtocolTCP, ProtocolTCP, ProtocolUDP, ProtocolICMP, ProtocolSCTP),
		Port:     pick[uint16](d, 80, 80, 80, 8080, 79, 8081, 8082, 0, 65535)}
	if r.Protocol == ProtocolICMP {
		r.Port = pick[uint16](d, 8<<8, 13<<8)
	}
	if r.Protocol == ProtocolTCP && d.yes(2) {
		r.HTTP = &HTTPRequest{Method: "GET", Path: pick(d, "/a", "/b", "/c", "/ab", "/a%2f", "/a?x", "/b?x")}
	}
	return r
}

// withoutDoubles leaves out pods that drew the address of another.
func withoutDoubles(s Snapshot) Snapshot {
	seen := map[netip.Addr]bool{}
	s.Endpoints = slices.DeleteFunc(s.Endpoints, func(e Endpoint) bool {
		double := !e.HostNetwork && seen[e.Addrs[0]]
		seen[e.Addrs[0]] = true
		return double
	})
	return s
}
