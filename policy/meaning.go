package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// meaning is who an address is: identities that it has at once, in every table or by table.
type meaning struct {
	base Identity
	all  []Identity
	by   map[TableID][]Identity
}

// add takes what more the address is; tables that there are not are left out.
func (m *meaning) add(parts []Identity, tables []TableID, known map[TableID]bool) {
	if tables == nil {
		m.all = union(m.all, parts)
	}
	for _, t := range tables {
		if known[t] {
			m.by[t] = union(m.by[t], parts)
		}
	}
}

// in returns the identities that the address has at once in a table, sorted.
func (m *meaning) in(t TableID) []Identity {
	out := union(m.all, m.by[t])
	if m.base != IdentityWorld || len(out) == 0 {
		out = union(out, []Identity{m.base})
	}
	return out
}

// none says that nobody takes the address for a name's.
func (m *meaning) none() bool { return len(m.all)+len(m.by) == 0 }

// alone returns the identity of the one pattern that the address is of in every table.
func (m *meaning) alone() (Identity, bool) {
	if all := m.in(""); len(m.by) == 0 && len(all) == 1 {
		return all[0], true
	}
	return 0, false
}

// text is what identities stand for: the patterns' own numbers may change with others.
func (m *meaning) text(labels map[Identity]Labels) string {
	var out strings.Builder
	write := func(table TableID, parts []Identity) {
		names := make([]string, 0, len(parts))
		for _, part := range parts {
			names = append(names, labelsText(labels[part]))
		}
		slices.Sort(names)
		out.WriteString(string(table) + "\x02" + strings.Join(names, "\x01") + "\x03")
	}
	write("", m.in(""))
	for _, t := range slices.Sorted(maps.Keys(m.by)) {
		write(t, m.in(t))
	}
	return out.String()
}

// maxMeanings bounds the identities that a node makes. What is beyond is not learnt: those go
// first that are the most at once.
const maxMeanings = 1024

// meanings are those of all learnt addresses.
type meanings struct {
	// addrs are the identities of addresses, of the patterns or numbered.
	addrs map[netip.Addr]Identity
	// numbered are the meanings that no single pattern is, by number.
	numbered map[Identity]*meaning
}

func (l *Learner) meanings(np NodePolicy, learnt []Learnt, labels map[Identity]Labels) meanings {
	known := make(map[TableID]bool, len(np.Tables))
	for _, t := range np.Tables {
		known[t.ID] = t.Direction == Egress
	}
	of := make(map[netip.Addr]*meaning, len(learnt))
	for _, a := range learnt {
		parts := l.named(a)
		if len(parts) == 0 {
			continue
		}
		addr := a.Addr.Unmap()
		if of[addr] == nil {
			of[addr] = &meaning{base: l.base(addr), by: map[TableID][]Identity{}}
		}
		of[addr].add(parts, a.Tables, known)
	}
	out := meanings{addrs: map[netip.Addr]Identity{}, numbered: map[Identity]*meaning{}}
	byText, texts := map[string]*meaning{}, map[netip.Addr]string{}
	for addr, m := range of {
		if m.none() {
			continue
		}
		if one, ok := m.alone(); ok {
			out.addrs[addr] = one
			continue
		}
		texts[addr] = m.text(labels)
		byText[texts[addr]] = m
	}
	keys := slices.SortedFunc(maps.Keys(byText), func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	keys = keys[:min(len(keys), maxMeanings)]
	slices.Sort(keys)
	numbers := identityNumbers(keys, func(k string) string { return k }, FirstLocalIdentity, 1<<32-uint64(FirstLocalIdentity))
	for text, number := range numbers {
		out.numbered[number] = byText[text]
	}
	for addr, text := range texts {
		if number, ok := numbers[text]; ok {
			out.addrs[addr] = number
		}
	}
	return out
}

// labels are those of all that the address is in some table.
func (m *meaning) labels(of map[Identity]Labels) Labels {
	out := Labels{}
	parts := m.in("")
	for t := range m.by {
		parts = union(parts, m.in(t))
	}
	for _, part := range parts {
		maps.Copy(out, of[part])
	}
	return out
}

// union returns what is in a or b, sorted.
func union(a, b []Identity) []Identity {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
