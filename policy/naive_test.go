package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// naive is a second, slow reading of the rules: it asks each rule of the snapshot about
// one request, and knows no identities, tables, intervals or prefixes.
type naive struct {
	s Snapshot
	// learnt are the addresses of names.
	learnt []Learnt
	self   *Endpoint
	req    Request
	// enforced and defaultDeny are those of all sections that select self.
	enforced, defaultDeny bool
}

// end is what a peer's address means.
type end struct {
	labels []Labels // every one must be allowed (host and remote node of a service's backend)
	pods   []*Endpoint
	addr   netip.Addr
	// outside is true if CIDRs can select it.
	outside, api bool
	// behind a service's address, which names do not select
	behind bool
}

type answer struct {
	verdict Verdict
	class   string
	http    []HTTPRule
	all     bool
	audit   bool
	// open is true if every policy with L7 rules here fails open.
	open bool
}

func decideNaively(s Snapshot, learnt []Learnt, req Request) Verdict {
	n := naive{s: s, learnt: learnt, req: req}
	for i := range s.Endpoints {
		if e := &s.Endpoints[i]; !e.HostNetwork && slices.Contains(e.Addrs, req.Endpoint) {
			n.self = e
		}
	}
	if n.self == nil {
		return Forwarded
	}
	selected := false
	n.sections(func(p *Policy, s *Section) {
		if s.DefaultDeny || len(s.Rules) > 0 {
			selected = true
			n.enforced = n.enforced || p.Mode == Enforce
		}
	})
	if !selected {
		return Forwarded
	}
	n.sections(func(p *Policy, s *Section) {
		n.defaultDeny = n.defaultDeny || s.DefaultDeny && (p.Mode == Enforce || !n.enforced)
	})
	a := n.judge()
	v := a.verdict
	switch {
	case v == Redirected && req.Unserved && a.open:
		return Forwarded
	case v == Redirected && req.Unserved:
		v = Denied
	}
	if v == Redirected && req.HTTP != nil {
		path, ok := NormalizePath(req.HTTP.Path)
		if !ok {
			return Denied
		}
		v = Denied
		if !escapedSlash(path) {
			v = a.judgeHTTP(path)
		}
	}
	if v == Denied && !n.enforced {
		return Audited
	}
	return v
}

func (n *naive) sections(f func(*Policy, *Section)) {
	for i := range n.s.Policies {
		for j := range n.s.Policies[i].Specs {
			spec := &n.s.Policies[i].Specs[j]
			if spec.Subject.Matches(n.self.Labels) {
				section := &spec.Ingress
				if n.req.Direction == Egress {
					section = &spec.Egress
				}
				f(&n.s.Policies[i], section)
			}
		}
	}
}

func escapedSlash(path string) bool {
	path, _, _ = strings.Cut(strings.ToLower(path), "?")
	return strings.Contains(path, "%2f") || strings.Contains(path, "%5c")
}

func (a answer) judgeHTTP(path string) Verdict {
	for _, r := range a.http {
		if r.Action == Deny && !r.Audit && (r.Path.holds(path, true) || r.Path.holds(strings.SplitN(path, "?", 2)[0], true)) {
			return Denied
		}
	}
	for _, r := range a.http {
		if r.Action == Deny && r.Audit && (r.Path.holds(path, true) || r.Path.holds(strings.SplitN(path, "?", 2)[0], true)) {
			return Audited
		}
	}
	for _, r := range a.http {
		if r.Action == Allow && r.Path.holds(path, false) {
			return Forwarded
		}
	}
	if a.all {
		return Forwarded
	}
	if a.audit {
		return Audited
	}
	return Denied
}

// judge answers for a peer, or for all backends of a service's address.
func (n *naive) judge() answer {
	for _, svc := range n.s.Services {
		if !slices.Contains(svc.Addrs, n.req.Peer) {
			continue
		}
		if n.req.Direction == Ingress {
			return n.one(Labels{}, end{})
		}
		for _, p := range svc.Ports {
			if p.Port == n.req.Port && p.Protocol == n.req.Protocol {
				return n.all(p.Backends)
			}
		}
		return n.one(Labels{}, end{})
	}
	who := n.who(n.req.Peer, true)
	return n.one(who.labels[0], who)
}

func (n *naive) all(backends []netip.AddrPort) answer {
	var out answer
	first := true
	for _, b := range backends {
		who := n.who(b.Addr(), false)
		for _, l := range who.labels {
			at := *n
			at.req.Port = b.Port()
			got := at.one(l, who)
			if got.verdict == Denied {
				return got
			}
			if !first && (got.verdict != out.verdict || got.class != out.class) {
				return answer{}
			}
			out, first = got, false
		}
	}
	return out
}

// one answers for one meaning of one peer.
func (n *naive) one(labels Labels, who end) answer {
	if _, host := labels["reserved:host"]; host && n.req.Direction == Ingress {
		return answer{verdict: Forwarded}
	}
	var l4, l7 []*Rule
	var wideL4, wideL7, denies, denied, open bool
	var names []string
	var out answer
	n.sections(func(p *Policy, s *Section) {
		soft := p.Mode == Audit && n.enforced
		for i := range s.Rules {
			r := &s.Rules[i]
			if !n.peerHolds(r, labels, who) || !n.portHolds(r, who) {
				continue
			}
			switch h, _ := r.L7.(*HTTP); {
			case r.Action == Deny:
				denied = denied || !soft
			case h == nil:
				l4 = append(l4, r)
				wideL4 = wideL4 || r.AnyPeer
			default:
				out.open = p.Failure == FailOpen && (len(l7) == 0 || out.open)
				l7 = append(l7, r)
				wideL7 = wideL7 || r.AnyPeer
				out.audit = out.audit || h.Audit
				open = open || !s.DefaultDeny || soft && !n.defaultDeny
				for _, one := range h.Rules {
					if one.Action == Deny && soft {
						continue
					}
					denies = denies || one.Action == Deny
					out.http = append(out.http, one)
				}
				names = append(names, fmt.Sprint(r.ID))
			}
		}
	})
	switch {
	case denied:
		return answer{}
	case len(l7) > 0 && (!wideL4 || wideL7 || denies):
		out.verdict, out.all = Redirected, open || len(l4) > 0
		// The class is its L7 rules and the rule that allows all.
		out.class = strings.Join(names, " ") + n.allowAll(l4, l7)
		return out
	case len(l4) > 0 || !n.defaultDeny:
		return answer{verdict: Forwarded}
	}
	return answer{}
}
