package policy

import "slices"

// seesNames warns of rules on names whose lookups no DNS rule of the same pods lets the proxy
// see: nothing is learnt for them.
func (c *compiler) seesNames(sections []*section) {
	var seen []NamePattern
	each := func(f func(*Rule)) {
		for _, s := range sections {
			for i := range s.spec.Egress.Rules {
				f(&s.spec.Egress.Rules[i])
			}
		}
	}
	each(func(r *Rule) {
		if dns, ok := r.L7.(*DNS); ok {
			for _, d := range dns.Rules {
				seen = append(seen, d.Name)
			}
		}
	})
	each(func(r *Rule) {
		for _, p := range r.Peers {
			if p.Name == "" || slices.ContainsFunc(seen, func(d NamePattern) bool { return d.meets(p.Name) }) {
				continue
			}
			c.report(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonNoMatch, Warning: true,
				Message: "no DNS rule of the same pods allows lookups of " + string(p.Name) + ", so that no address is learnt for it: add one for the pods' DNS server"})
		}
	})
}

// meets says whether a name may match both patterns.
func (p NamePattern) meets(other NamePattern) bool {
	switch {
	case p == EveryName || other == EveryName:
		return true
	case other.IsName():
		return p.Matches(string(other))
	case p.IsName():
		return other.Matches(string(p))
	}
	return true // two patterns: what they have in common is not looked for
}
