package policy

import (
	"fmt"
	"slices"
)

// tableInput is what a table is made of.
type tableInput struct {
	direction Direction
	sections  []*section
	// ports are the subject's named ports (ingress).
	ports []NamedPort
	// host is the position of the subject's own node, hostLabels what it is told apart by (egress).
	host       int32
	hostLabels Labels
}

// reading is how the policies of a table are read, as a whole.
//
// A table is audit if all its policies are: it is judged as if they were enforced, and what it
// refuses is reported. In a mixed one the policies in Audit mode refuse nothing: their rules
// that allow count, and what they alone would have refused goes on and is reported.
type reading struct {
	defaultDeny, audit bool
	// rest is true where policies in Audit mode alone deny by default.
	rest bool
	// mixed is true where something audits beside what is enforced.
	mixed bool
}

func (in tableInput) reading() reading {
	var out reading
	out.audit = !slices.ContainsFunc(in.sections, func(s *section) bool { return !s.audit })
	would := false
	for _, s := range in.sections {
		would = would || s.defaultDeny
		out.defaultDeny = out.defaultDeny || s.defaultDeny && (out.audit || !s.audit)
		audits := s.audit || slices.ContainsFunc(s.rules, func(r rule) bool { return r.deny && r.audits })
		out.mixed = out.mixed || audits && !out.audit
	}
	out.rest = would && !out.defaultDeny
	return out
}

// rules returns the table's rules, as they are read.
func (in tableInput) rules(how reading) []rule {
	var rules []rule
	for _, s := range in.sections {
		for _, r := range s.rules {
			r.soft = !how.audit && (s.audit || r.deny && r.audits)
			if s.audit && !how.audit {
				r.waived = !how.defaultDeny
				if r.l7 != nil {
					r.l7 = r.l7.softened()
					r.key += fmt.Sprint("\x00audited ", r.waived)
				}
			}
			if in.direction == Ingress {
				r = resolveNamed(r, in.ports)
			}
			if r.allPorts || len(r.ranges) > 0 {
				rules = append(rules, r)
			}
		}
	}
	return rules
}

// denying returns the policies whose default deny counts.
func (in tableInput) denying(how reading) []Ref {
	var out []Ref
	for _, s := range in.sections {
		if s.defaultDeny && (how.audit || how.rest || !s.audit) {
			out = append(out, s.policy.Ref)
		}
	}
	slices.SortFunc(out, CompareRefs)
	return slices.Compact(out)
}

// id names the table by which rules it is made of and how they are read, not by their text.
func (in tableInput) id(how reading) TableID {
	texts := []string{fmt.Sprint(in.direction, how)}
	for _, s := range in.sections {
		texts = append(texts, s.key, fmt.Sprint(s.defaultDeny, s.audit))
		for _, r := range s.rules {
			for _, p := range r.named {
				texts = append(texts, r.key, p.Name, fmt.Sprint(namedRanges(p, in.ports, r.deny)))
			}
		}
		if s.hosts[in.host] {
			texts = append(texts, fmt.Sprint(in.hostLabels))
		}
	}
	return TableID(shortHash(texts))
}

// table returns the table for in, made once.
func (c *compiler) table(in tableInput) TableID {
	how := in.reading()
	id := in.id(how)
	if _, ok := c.tables[id]; ok {
		return id
	}
	t := &Table{ID: id, Direction: in.direction, DefaultDeny: how.defaultDeny, AuditRest: how.rest, Audit: how.audit}
	t.Denying = in.denying(how)
	c.tables[id] = t
	rules := in.rules(how)
	f := &folder{direction: in.direction, how: how, rules: rules, classes: c.classes, partsOf: c.partsOf, report: c.report,
		byCover: map[string]*outcome{}, byContent: map[string]*outcome{}}

	var wide []int32
	for n := range rules {
		if rules[n].any {
			wide = append(wide, int32(n))
		}
	}
	t.Entries = appendEntries(t.Entries, IdentityAny, f.entries(nil, wide))
	if in.direction == Ingress {
		// A pod's own node always reaches it: kubelet's probes (SEMANTICS 12).
		t.Entries = append(t.Entries, Entry{Identity: IdentityHost, Verdict: Forwarded})
	}
	for _, g := range c.groups(rules) {
		own := f.entries(g.rules, wide)
		for _, n := range g.peers {
			identity := c.u.identities[n]
			if identity == IdentityHost && (in.direction == Ingress || n != in.host) {
				continue
			}
			t.Entries = appendEntries(t.Entries, identity, own)
		}
	}
	c.limited = c.limited || f.limited
	slices.SortFunc(t.Entries, CompareEntries)
	if in.direction == Egress {
		t.Entries = append(t.Entries, c.serviceEntries(*t, how.mixed)...)
		slices.SortFunc(t.Entries, CompareEntries)
	}
	return id
}

func appendEntries(to []Entry, identity Identity, entries []Entry) []Entry {
	for _, e := range entries {
		e.Identity = identity
		to = append(to, e)
	}
	return to
}

// group is the identities that the same rules select.
type group struct {
	rules []int32
	peers []int32
}

// groups divides the identities that rules select by which of them do.
func (c *compiler) groups(rules []rule) []group {
	if c.groupOf == nil {
		c.groupOf = make([]int32, len(c.u.identities))
	}
	of := c.groupOf // an identity's group so far, 0 for all that no rule selects
	var selected []int32
	all := []group{{}}
	for n := range rules {
		next := map[int32]int32{}
		for _, p := range rules[n].peers {
			if of[p] == 0 {
				selected = append(selected, p)
			}
			to, ok := next[of[p]]
			if !ok {
				to = int32(len(all))
				next[of[p]] = to
				all = append(all, group{rules: append(slices.Clone(all[of[p]].rules), int32(n))})
			}
			of[p] = to
		}
	}
	slices.Sort(selected)
	for _, p := range selected {
		all[of[p]].peers = append(all[of[p]].peers, p)
		of[p] = 0
	}
	return slices.DeleteFunc(all, func(g group) bool { return len(g.peers) == 0 })
}
