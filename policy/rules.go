package policy

import (
	"fmt"
	"slices"
)

// rule is a Rule, or the part of one whose ports are the same for all its peers.
type rule struct {
	id RuleID
	// key names the rule in the IDs of tables and classes.
	key string
	// any is true if every peer is meant; peers then is empty.
	any bool
	// wide is true if the rule's text means every peer, even if a named port makes it
	// different rules for different peers.
	wide bool
	deny bool
	// open is true if the rule's L7 part denies nothing: its section has no default deny.
	open bool
	// audits is true of a deny rule that only reports. soft is true of each rule that refuses
	// nothing in this table, since it or its policy audits.
	audits, soft bool
	// waived is true of a soft rule where nothing that is enforced denies by default.
	waived bool
	// failure is the policy's.
	failure Failure
	// peers are positions in the universe, sorted.
	peers []int32
	// allPorts is true if every port of every protocol is meant; ranges then is empty.
	allPorts bool
	ranges   []portRange
	// named are ports that the subject resolves (ingress only).
	named []Port
	l7    L7
}

// section is one direction of a Spec, ready to be combined with others.
type section struct {
	policy      *Policy
	spec        *Spec
	key         string
	defaultDeny bool
	audit       bool
	rules       []rule
	// hosts are the own nodes that some rule does not treat as any other.
	hosts map[int32]bool
}

// selects says whether the section has any effect.
func (s *section) selects() bool { return s.defaultDeny || len(s.rules) > 0 }

// newSection compiles a section, and reports what in it cannot be resolved.
func (u *universe) newSection(p *Policy, spec *Spec, d Direction, report func(Problem)) *section {
	in := spec.Ingress
	if d == Egress {
		in = spec.Egress
	}
	out := &section{hosts: map[int32]bool{}, policy: p, spec: spec, defaultDeny: in.DefaultDeny, audit: p.Mode == Audit, key: policyKey(p) + "\x00" + spec.Path}
	for i := range in.Rules {
		r := &in.Rules[i]
		base := rule{
			id: r.ID, key: policyKey(p) + "\x00" + r.ID.Path, any: r.AnyPeer, wide: r.AnyPeer,
			deny: r.Action == Deny, open: !in.DefaultDeny, audits: r.Audit, failure: p.Failure, l7: r.L7,
		}
		if r.L7 != nil && r.L7.audits() {
			base.l7 = r.L7.softened()
		}
		if base.deny {
			// A deny rule with an L7 part is none that ingest makes: it denies all of it.
			base.l7 = nil
		}
		if !base.any {
			base.peers = u.peers(r, base.deny, report)
		}
		out.rules = append(out.rules, u.withPorts(base, r, d, report)...)
	}
	host := u.position[IdentityHost]
	for i := range out.rules {
		for n := u.firstHost; int(n) < len(u.identities); n++ {
			if contains(out.rules[i].peers, host) != contains(out.rules[i].peers, n) {
				out.hosts[n] = true
			}
		}
	}
	return out
}

func policyKey(p *Policy) string {
	return p.Ref.Kind + "\x00" + p.Ref.Namespace + "\x00" + p.Ref.Name + "\x00" + p.UID
}

// peers returns the positions that the rule's peers select, sorted.
func (u *universe) peers(r *Rule, deny bool, report func(Problem)) []int32 {
	var out []int32
	for _, peer := range r.Peers {
		if peer.Selector != nil {
			out = append(out, u.index.find(*peer.Selector)...)
		}
		if peer.CIDR != nil {
			out = append(out, u.cidr(*peer.CIDR, deny)...)
		}
		if peer.Name != "" {
			out = append(out, u.position[u.book.names[peer.Name]])
		}
		for _, key := range peer.Services {
			svc := u.services[key]
			if svc == nil {
				report(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnresolved,
					Message: fmt.Sprintf("service %q does not exist: it selects nothing", key)})
				continue
			}
			backends, unsupported := u.backends(svc, deny)
			if unsupported {
				report(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported,
					Message: fmt.Sprintf("service %q has backends that are nodes or have no labels of their own: they are not selected; use the entity remote-node", key)})
			}
			out = append(out, backends...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// withPorts gives the rule its ports. On egress a named port is each peer's own: the
// rule falls into one part for each different answer.
func (u *universe) withPorts(base rule, r *Rule, d Direction, report func(Problem)) []rule {
	base.allPorts = len(r.Ports) == 0
	for _, p := range r.Ports {
		if p.Name != "" {
			base.named = append(base.named, p)
			continue
		}
		base.ranges = append(base.ranges, rangesOf(p)...)
	}
	if base.l7 != nil {
		// L7 needs TCP said explicitly, DNS can also have UDP (SEMANTICS 13): anything else in the rule opens nothing.
		base.allPorts = false
		base.ranges = onlyCarried(base.l7, base.ranges)
	}
	base.ranges = sortRanges(base.ranges)
	if d == Ingress || len(base.named) == 0 {
		return []rule{base}
	}
	return u.splitByNamedPorts(base, report)
}

// onlyCarried leaves the protocols that can carry what the L7 part is about.
func onlyCarried(l7 L7, ranges []portRange) []portRange {
	_, dns := l7.(*DNS)
	return slices.DeleteFunc(ranges, func(r portRange) bool {
		return r.protocol != ProtocolTCP && (!dns || r.protocol != ProtocolUDP)
	})
}

func contains(sorted []int32, n int32) bool {
	_, ok := slices.BinarySearch(sorted, n)
	return ok
}
