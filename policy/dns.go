package policy

import (
	"net/netip"
	"slices"
	"time"
)

// DNS allows the questions for names that match one of its rules, whatever their type.
// No rules allow nothing.
type DNS struct {
	Rules []DNSRule
	// Audit lets through, and reports, what the rules refuse.
	Audit bool
}

// DNSRule allows the questions for some names.
type DNSRule struct {
	// ID.Path is "spec.egress[0].toPorts[0].rules.dns[0]".
	ID   RuleID
	Name NamePattern
}

// DNSRequest is a question to a DNS server as a proxy reads it.
type DNSRequest struct {
	// Name is as asked, with or without the trailing dot.
	Name string
}

// DNSEvent is the DNS part of an Event.
type DNSEvent struct {
	// Name is normalised.
	Name string
	// Type is the number of the record type that was asked for, Code the answer's.
	Type, Code uint16
	// Addrs were given for the name, Aliases are the names on the way.
	Addrs   []netip.Addr
	Aliases []string
	// TTL is the shortest of them, in seconds.
	TTL     uint32
	Latency time.Duration
}

// DecideDNS judges a question by a class's rules.
func (c Class) DecideDNS(req DNSRequest) Decision {
	d := c.audited(c.byNames(req))
	d.Class = c.ID
	return d
}

func (c Class) byNames(req DNSRequest) Decision {
	name := NormalizeName(req.Name)
	n := slices.IndexFunc(c.DNS, func(r DNSRule) bool { return r.Name.Matches(name) })
	switch {
	case n >= 0:
		return Decision{Verdict: Forwarded, Rule: c.DNS[n].ID, Reason: "allowed by rule"}
	}
	return c.rest()
}

// NameMatcher finds the rule that allows a name quickly: plain names are looked up.
type NameMatcher struct {
	class Class
	// names are the first rules that are plain names, patterns the places of the others.
	names    map[string]int
	patterns []int
}

// NewNameMatcher returns a matcher for the class's DNS rules. It gives the answers of
// [Class.DecideDNS].
func NewNameMatcher(c Class) NameMatcher {
	m := NameMatcher{class: c, names: map[string]int{}}
	for i, r := range c.DNS {
		if !r.Name.IsName() {
			m.patterns = append(m.patterns, i)
		} else if _, ok := m.names[string(r.Name)]; !ok {
			m.names[string(r.Name)] = i
		}
	}
	return m
}

// Decide judges a question.
func (m NameMatcher) Decide(req DNSRequest) Decision {
	name := NormalizeName(req.Name)
	first, found := m.names[name]
	for _, i := range m.patterns {
		if found && i > first {
			break
		}
		if m.class.DNS[i].Name.Matches(name) {
			first, found = i, true
			break
		}
	}
	c := m.class
	c.DNS = nil
	if found {
		c.DNS = m.class.DNS[first : first+1]
	}
	return c.DecideDNS(DNSRequest{Name: name})
}
