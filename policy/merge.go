package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// mergedPrefix begins the IDs of classes that a node makes of others.
const mergedPrefix = "merged-"

// merger makes the entries of identities that are several at once.
type merger struct {
	classes map[ClassID]Class
	// made are the classes that were not there before.
	made []Class
	// problems are what of them there was no room for.
	problems []Problem
}

// entries returns the entries, without identity, of what may do whatever one of the parts
// may; none where the entries of IdentityAny say the same of all of them.
func (m *merger) entries(t Table, parts []Identity) []Entry {
	cuts := map[Protocol][]int{}
	own := false
	for _, e := range t.Entries {
		mine := slices.Contains(parts, e.Identity)
		own = own || mine
		if (mine || e.Identity == IdentityAny) && e.Protocol != ProtocolAny {
			size := 1 << (16 - e.PrefixLen)
			cuts[e.Protocol] = append(cuts[e.Protocol], int(e.Port), int(e.Port)+size)
		}
	}
	if !own {
		return nil
	}
	outcomes := map[string]*outcome{}
	at := func(p Protocol, port uint16) *outcome {
		out := m.outcome(t, parts, p, port)
		if out == nil {
			return nil
		}
		text := fmt.Sprint(*out)
		if same, ok := outcomes[text]; ok {
			return same
		}
		outcomes[text] = out
		return out
	}
	var out []Entry
	base := at(ProtocolAny, 0)
	if base != nil {
		out = append(out, base.entry(ProtocolAny, portPrefix{}))
	}
	for _, p := range sortedKeys(cuts) {
		edges := append(cuts[p], 0)
		slices.Sort(edges)
		edges = slices.Compact(edges)
		var segments []segment
		for i, lo := range edges {
			if lo > lastPort {
				break
			}
			hi := lastPort
			if i+1 < len(edges) {
				hi = edges[i+1] - 1
			}
			segments = append(segments, segment{uint16(lo), uint16(hi), at(p, uint16(lo))})
		}
		out = append(out, protocolEntries(p, segments, base)...)
	}
	return out
}

// outcome is the union of what the table says of the parts. A deny rule for one of them
// closes all, as where rules meet at one identity (SEMANTICS 1); so do L7 rules of two
// kinds, but for those of the first (SEMANTICS 4).
func (m *merger) outcome(t Table, parts []Identity, p Protocol, port uint16) *outcome {
	var rules []RuleID
	var redirects []Entry
	var open *RuleID
	var soft []RuleID
	for _, part := range parts {
		e, ok := t.lookup(part, p, port)
		switch {
		case !ok:
			continue
		case e.Verdict == Denied:
			return &outcome{verdict: Denied, rules: e.Rules}
		case e.Verdict == Redirected:
			redirects = append(redirects, e)
		case e.Verdict == Audited:
			soft = append(soft, e.Rules...)
			continue
		default:
			id := first(e.Rules)
			if open == nil || CompareRuleIDs(id, *open) < 0 {
				open = &id
			}
		}
		rules = append(rules, e.Rules...)
	}
	slices.SortFunc(soft, CompareRuleIDs)
	if len(soft) > 0 && len(redirects) == 0 {
		return &outcome{verdict: Audited, rules: slices.Compact(soft)}
	}
	if len(soft) > 0 && open == nil {
		open = &soft[0] // it refuses nothing, so that something else lets everything through
	}
	if rules == nil && open == nil && len(redirects) == 0 {
		return nil
	}
	slices.SortFunc(rules, CompareRuleIDs)
	rules = slices.Compact(rules)
	if len(redirects) == 0 {
		return &outcome{verdict: Forwarded, rules: rules}
	}
	slices.SortFunc(redirects, func(a, b Entry) int {
		return cmp.Or(CompareRuleIDs(first(a.Rules), first(b.Rules)), cmp.Compare(a.Class, b.Class))
	})
	redirects = slices.CompactFunc(redirects, func(a, b Entry) bool { return a.Class == b.Class })
	return &outcome{verdict: Redirected, class: m.class(redirects, open, soft), rules: rules}
}

// lookup is Lookup that also knows a packet of no protocol in particular.
func (t Table) lookup(peer Identity, p Protocol, port uint16) (Entry, bool) {
	if p != ProtocolAny {
		return t.Lookup(peer, p, port)
	}
	for _, identity := range []Identity{peer, IdentityAny} {
		for _, e := range t.Entries {
			if e.Identity == identity && e.Protocol == ProtocolAny {
				return e, true
			}
		}
	}
	return Entry{}, false
}

// class returns the class that allows what one of the others allows; open is a rule on layer
// 4 that allows everything, and leaves it to be seen.
// soft are deny rules on layers 3 and 4 that only report.
func (m *merger) class(of []Entry, open *RuleID, soft []RuleID) ClassID {
	if len(of) == 1 && open == nil {
		return of[0].Class
	}
	out := m.classes[of[0].Class]
	names := []string{string(out.ID)}
	for _, e := range of[1:] {
		c := m.classes[e.Class]
		names = append(names, string(c.ID))
		if c.Kind != out.Kind {
			continue
		}
		out.Failure = min(out.Failure, c.Failure) // Open only if all are
		out.HTTP = slices.Concat(out.HTTP, c.HTTP)
		out.DNS = slices.Concat(out.DNS, c.DNS)
		out.Kafka = slices.Concat(out.Kafka, c.Kafka)
		out.TLS = slices.Concat(out.TLS, c.TLS)
		out.mergeAllowAll(c.AllowAll, c.AuditRest)
		out.mergeAuditAll(c.AuditAll)
	}
	if open != nil {
		names = append(names, "open", fmt.Sprint(*open))
		out.mergeAllowAll(open, false)
	}
	if len(soft) > 0 {
		names = append(names, "soft", fmt.Sprint(soft[0]))
		out.mergeAuditAll(&soft[0])
	}
	out.ID = ClassID(mergedPrefix + shortHash(names))
	if _, ok := m.classes[out.ID]; ok {
		return out.ID
	}
	out.TLS = eachOnce(out.TLS, func(r TLSRule) RuleID { return r.ID })
	out.HTTP = eachOnce(slices.Concat(out.HTTP, insideTLS(out.TLS, nil)), func(r HTTPRule) RuleID { return r.ID })
	out.DNS = eachOnce(out.DNS, func(r DNSRule) RuleID { return r.ID })
	out.Kafka = eachOnce(out.Kafka, func(r KafkaRule) RuleID { return r.ID })
	m.limit(&out)
	m.classes[out.ID] = out
	m.made = append(m.made, out)
	return out.ID
}

// limit holds a class to what the operator holds its own to: each of the others has no more than
// that, but not all of them together.
func (m *merger) limit(c *Class) {
	f := &folder{report: func(p Problem) {
		p.Message = "for an address that the DNS gave for several names: " + p.Message
		m.problems = append(m.problems, p)
	}}
	f.limitNames(c)
	f.limit(c)
	f.limitHTTP(c)
}

// mergeAllowAll: what is allowed for good comes before what Audit lets through.
func (c *Class) mergeAllowAll(rule *RuleID, audit bool) {
	switch {
	case rule == nil:
	case c.AllowAll == nil || c.AuditRest && !audit:
		c.AllowAll, c.AuditRest = rule, audit
	case c.AuditRest == audit && CompareRuleIDs(*rule, *c.AllowAll) < 0:
		c.AllowAll = rule
	}
}

func (c *Class) mergeAuditAll(rule *RuleID) {
	if rule != nil && (c.AuditAll == nil || CompareRuleIDs(*rule, *c.AuditAll) < 0) {
		c.AuditAll = rule
	}
}

func sortedKeys[V any](m map[Protocol]V) []Protocol {
	out := make([]Protocol, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// eachOnce sorts rules by ID, and keeps one of each.
func eachOnce[R any](rules []R, id func(R) RuleID) []R {
	slices.SortFunc(rules, func(a, b R) int { return CompareRuleIDs(id(a), id(b)) })
	return slices.CompactFunc(rules, func(a, b R) bool { return id(a) == id(b) })
}
