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
	// auditing is true if one of them, or a deny rule in one, audits.
	auditing bool
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

// answer is what the rules say to one peer, in the world of what is enforced or in that where
// what audits is enforced too.
type answer struct {
	verdict Verdict
	http    []HTTPRule
	all     bool
	audit   bool
	// open is true if every policy with L7 rules here fails open.
	open bool
	// entries that audit, and others, whether they are asked here or not.
	auditing, enforcing bool
}

// both are the answers of both worlds: what the first refuses is refused, what the second
// refuses alone is reported.
type both struct {
	enforced, would answer
	// proxied is true where there are L7 rules to see; class names them then.
	proxied bool
	class   string
}

// connection is the verdict before L7 is looked at.
func (b both) connection() Verdict {
	switch {
	case b.enforced.verdict == Denied:
		return Denied
	case b.proxied:
		return Redirected
	case b.would.verdict == Denied:
		return Audited
	}
	return Forwarded
}

// refusesNothing says whether every request goes on.
func (b both) refusesNothing() bool {
	a := b.enforced
	return a.verdict == Forwarded || a.verdict == Redirected && (a.all || a.audit) && !slices.ContainsFunc(a.http, func(r HTTPRule) bool { return r.Action == Deny && !r.Audit })
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
			n.auditing = n.auditing || p.Mode == Audit || slices.ContainsFunc(s.Rules, func(r Rule) bool { return r.Action == Deny && r.Audit })
		}
	})
	if !selected {
		return Forwarded
	}
	n.sections(func(p *Policy, s *Section) {
		n.defaultDeny = n.defaultDeny || s.DefaultDeny && (p.Mode == Enforce || !n.enforced)
	})
	b := n.judge()
	v := b.connection()
	switch {
	case v == Redirected && req.Unserved && (b.enforced.verdict == Forwarded || b.enforced.open):
		return Forwarded
	case v == Redirected && req.Unserved:
		v = Denied
	case v == Redirected && req.HTTP != nil:
		path, ok := NormalizePath(req.HTTP.Path)
		if !ok {
			return Denied
		}
		enforced, would := b.enforced.judgeHTTP(path, true), b.would.judgeHTTP(path, false)
		switch {
		case enforced == Denied:
			v = Denied
		case enforced == Audited || would != Forwarded:
			v = Audited
		default:
			v = Forwarded
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

// judgeHTTP: in the enforced world the denies that audit are not asked.
func (a answer) judgeHTTP(path string, enforced bool) Verdict {
	if a.verdict != Redirected {
		return a.verdict
	}
	if escapedSlash(path) {
		if enforced && a.auditing && !a.enforcing && (a.all || a.audit) {
			return Forwarded
		}
		return Denied
	}
	holds := func(audit bool) bool {
		return slices.ContainsFunc(a.http, func(r HTTPRule) bool {
			return r.Action == Deny && r.Audit == audit && (r.Path.holds(path, true) || r.Path.holds(strings.SplitN(path, "?", 2)[0], true))
		})
	}
	allowed := slices.ContainsFunc(a.http, func(r HTTPRule) bool { return r.Action == Allow && r.Path.holds(path, false) })
	switch {
	case holds(false):
		return Denied
	case !allowed && !a.all && !a.audit:
		return Denied
	case holds(true) || !allowed && !a.all:
		return Audited
	}
	return Forwarded
}

// judge answers for a peer, or for all backends of a service's address.
func (n *naive) judge() both {
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

// all: every backend must be allowed, in the same way but for what only audits.
func (n *naive) all(backends []netip.AddrPort) both {
	var got []both
	for _, b := range backends {
		who := n.who(b.Addr(), false)
		for _, l := range who.labels {
			at := *n
			at.req.Port = b.Port()
			got = append(got, at.one(l, who))
		}
	}
	if len(got) == 0 {
		return both{}
	}
	out, same, redirects, nothing := got[0], true, 0, true
	for _, b := range got {
		switch v := b.connection(); v {
		case Denied:
			return both{}
		case Redirected:
			redirects++
			same = same && b.class == got[0].class
		case Audited:
			out = b
		case Forwarded:
		}
		nothing = nothing && b.refusesNothing()
	}
	switch {
	case redirects == 0 || redirects == len(got) && same:
		return out
	case n.auditing && n.enforced && nothing:
		return both{enforced: answer{verdict: Forwarded}}
	}
	return both{}
}

// found is a rule that is about the request.
type found struct {
	*Rule
	policy  *Policy
	section *Section
	http    *HTTP
}

// audits says that the rule's policy refuses nothing, beside others that do.
func (n *naive) audits(f found) bool { return f.policy.Mode == Audit && n.enforced }

// one answers for one meaning of one peer.
func (n *naive) one(labels Labels, who end) both {
	if _, host := labels["reserved:host"]; host && n.req.Direction == Ingress {
		return both{enforced: answer{verdict: Forwarded}, would: answer{verdict: Forwarded}}
	}
	var rules []found
	wouldDeny := false
	n.sections(func(p *Policy, s *Section) {
		wouldDeny = wouldDeny || s.DefaultDeny
		for i := range s.Rules {
			if r := &s.Rules[i]; n.peerHolds(r, labels, who) && n.portHolds(r, who) {
				h, _ := r.L7.(*HTTP)
				rules = append(rules, found{r, p, s, h})
			}
		}
	})
	var in, seen []found
	for _, f := range rules {
		softDeny := f.Action == Deny && (n.audits(f) || f.Audit && n.enforced)
		if !softDeny {
			seen = append(seen, f)
		}
		if !softDeny && (!n.audits(f) || n.defaultDeny) {
			in = append(in, f)
		}
	}
	out := both{enforced: n.world(in, n.defaultDeny, true), would: n.world(rules, wouldDeny, false)}
	// The proxy sees what L7 rules are about, whether or not a rule on layer 4 would refuse it.
	out.proxied = out.enforced.verdict != Denied && n.world(seen, wouldDeny, false).verdict == Redirected
	out.class = n.className(rules)
	for _, f := range rules {
		if f.http != nil && len(f.http.Rules) > 0 && (n.audits(f) || f.http.Audit) {
			out.enforced.auditing = true
		}
	}
	return out
}

// world answers by some rules, as if nobody had any others.
func (n *naive) world(rules []found, defaultDeny, enforced bool) answer {
	var out answer
	var wideL4, wideL7, denies, l4, l7, open, asked bool
	for _, f := range rules {
		switch {
		case f.Action == Deny:
			return answer{}
		case f.http == nil:
			l4, wideL4 = true, wideL4 || f.AnyPeer
			continue
		}
		out.open = f.policy.Failure == FailOpen && (!asked || out.open)
		l7, asked, wideL7 = true, true, wideL7 || f.AnyPeer
		out.audit = out.audit || f.http.Audit
		open = open || !f.section.DefaultDeny
		for _, e := range f.http.Rules {
			e.Audit = e.Audit || f.http.Audit
			out.auditing, out.enforcing = out.auditing || e.Audit || n.audits(f), out.enforcing || !(e.Audit || n.audits(f))
			if e.Action == Deny && enforced && n.audits(f) {
				continue
			}
			denies = denies || e.Action == Deny
			out.http = append(out.http, e)
		}
	}
	switch {
	case l7 && (!wideL4 || wideL7 || denies):
		out.verdict, out.all = Redirected, open || l4
		return out
	case l4 || !defaultDeny:
		out.verdict = Forwarded
	}
	return out
}

// className is the class's L7 rules, the rule that allows all, and the one that reports all.
func (n *naive) className(rules []found) string {
	var names, allow, report []RuleID
	for _, f := range rules {
		switch {
		case f.Action == Deny:
			report = append(report, f.ID)
		case f.http == nil:
			allow = append(allow, f.ID)
		default:
			names = append(names, f.ID)
			if !f.section.DefaultDeny {
				allow = append(allow, f.ID)
			}
		}
	}
	least := func(ids []RuleID) string {
		if len(ids) == 0 {
			return ""
		}
		return fmt.Sprint(slices.MinFunc(ids, CompareRuleIDs))
	}
	return fmt.Sprint(names, " all by ", least(allow), " reported by ", least(report))
}
