package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// bigSnapshot is a cluster of apps with ten pods each, and policies that select one app
// and allow two others, every third one with HTTP rules.
func bigSnapshot(pods, policies int) Snapshot {
	var s Snapshot
	const perApp, appsPerNamespace, nodes = 10, 20, 100
	for n := range nodes {
		s.Nodes = append(s.Nodes, Node{Name: fmt.Sprintf("n%03d", n), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, byte(n), 1})}})
	}
	apps := max(1, pods/perApp)
	namespace := func(app int) string { return fmt.Sprintf("ns%d", app/appsPerNamespace) }
	labels := func(app int) Labels {
		return Labels{"k8s:app": fmt.Sprintf("app%d", app), LabelNamespace: namespace(app), LabelServiceAccount: "default", LabelCluster: "default"}
	}
	for a := range apps {
		s.Identities = append(s.Identities, IdentityLabels{FirstClusterIdentity + Identity(a), labels(a)})
		svc := Service{Key: fmt.Sprintf("%s/app%d", namespace(a), a), Addrs: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(a >> 8), byte(a)})},
			Ports: []ServicePort{{Protocol: ProtocolTCP, Port: 80}}}
		for p := range perApp {
			n := a*perApp + p
			addr := netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)})
			s.Endpoints = append(s.Endpoints, Endpoint{Key: fmt.Sprintf("%s/app%d-%d", namespace(a), a, p), Node: s.Nodes[n%nodes].Name,
				Identity: FirstClusterIdentity + Identity(a), Labels: labels(a), Addrs: []netip.Addr{addr}, Ports: []NamedPort{{"http", ProtocolTCP, 8080}}})
			svc.Ports[0].Backends = append(svc.Ports[0].Backends, netip.AddrPortFrom(addr, 8080))
		}
		s.Services = append(s.Services, svc)
	}
	selector := func(app int) Selector {
		app %= apps
		return Selector{Requirements: []Requirement{{"k8s:app", In, []string{fmt.Sprintf("app%d", app)}}, {LabelNamespace, In, []string{namespace(app)}}}}
	}
	for p := range policies {
		ref := Ref{Kind: "L7NetworkPolicy", Namespace: namespace(p % apps), Name: fmt.Sprintf("p%05d", p)}
		one, two := selector(p+1), selector(p+7)
		rule := func(direction string) Rule {
			path := "spec." + direction + "[0].toPorts[0]"
			r := Rule{ID: RuleID{Policy: ref, Path: path}, Peers: []Peer{{Selector: &one}, {Selector: &two}}, Ports: []Port{{Protocol: ProtocolTCP, Port: 8080}}}
			if p%3 == 0 {
				r.L7 = &HTTP{Rules: []HTTPRule{{ID: RuleID{Policy: ref, Path: path + ".rules.http[0]"}, Path: StringMatch{MatchRegex, "/data"}}}}
			}
			return r
		}
		cidr := Rule{ID: RuleID{Policy: ref, Path: "spec.egress[1]"}, Peers: []Peer{{CIDR: &CIDR{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{20, byte(p >> 8), byte(p), 0}), 24)}}}}
		s.Policies = append(s.Policies, Policy{Ref: ref, UID: ref.Name, Generation: 1, Specs: []Spec{{Path: "spec", Subject: selector(p),
			Ingress: Section{DefaultDeny: true, Rules: []Rule{rule("ingress")}}, Egress: Section{DefaultDeny: true, Rules: []Rule{rule("egress"), cidr}}}}})
	}
	return s
}

func BenchmarkCompile(b *testing.B) {
	for _, pods := range []int{1000, 10000} {
		for _, policies := range []int{10, 100, 1000, 5000} {
			s := bigSnapshot(pods, policies)
			b.Run(fmt.Sprintf("pods=%d/policies=%d", pods, policies), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if got := Compile(s); len(got.tables) == 0 {
						b.Fatal("nothing was compiled")
					}
				}
			})
		}
	}
}

// BenchmarkChange is one edited HTTP rule among 5,000 policies, compiled whole and by a Compiler.
func BenchmarkChange(b *testing.B) {
	s := bigSnapshot(10000, 5000)
	edit := func(n int) Snapshot {
		next := s
		next.Policies = slices.Clone(s.Policies)
		p := &next.Policies[0]
		p.Generation = int64(n)
		p.Specs = slices.Clone(p.Specs)
		section := &p.Specs[0].Ingress
		section.Rules = slices.Clone(section.Rules)
		section.Rules[0].L7 = &HTTP{Rules: []HTTPRule{{ID: section.Rules[0].L7.(*HTTP).Rules[0].ID, Path: StringMatch{MatchExact, fmt.Sprint("/", n)}}}}
		return next
	}
	slices.SortFunc(s.Policies, func(a, b Policy) int { return CompareRefs(a.Ref, b.Ref) })
	var k Compiler
	for name, compile := range map[string]func(Snapshot) *Compiled{"whole": Compile, "what differs": k.Compile} {
		compile(s)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := 1
			for b.Loop() {
				n++
				compile(edit(n))
			}
		})
	}
}

func BenchmarkNode(b *testing.B) {
	c := Compile(bigSnapshot(10000, 1000))
	b.ReportAllocs()
	for b.Loop() {
		if np := c.Node("n007"); len(np.Endpoints) == 0 {
			b.Fatal("the node has nothing to enforce")
		}
	}
}

// BenchmarkCompileWide is one pod that thousands of rules are about: for everyone on a
// port of their own, and for one app on another.
func BenchmarkCompileWide(b *testing.B) {
	s := bigSnapshot(10000, 1000)
	for i := range s.Policies {
		spec := &s.Policies[i].Specs[0]
		spec.Subject = Selector{Requirements: []Requirement{{"k8s:app", In, []string{"app0"}}}}
		rule := spec.Ingress.Rules[0]
		rule.ID.Path, rule.AnyPeer, rule.Peers, rule.L7 = "spec.ingress[1].toPorts[0]", true, nil, nil
		rule.Ports = []Port{{Protocol: ProtocolTCP, Port: uint16(10000 + 3*i)}}
		spec.Ingress.Rules = append(spec.Ingress.Rules, rule)
	}
	for b.Loop() {
		if got := Compile(s); len(got.tables) != 2 {
			b.Fatalf("%d tables, want 2", len(got.tables))
		}
	}
}
