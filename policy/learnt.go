package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// Learnt is an address that the DNS gave for names that pods of this node asked for.
type Learnt struct {
	Addr netip.Addr
	// Names are normalised.
	Names []string
	// Tables are those whose endpoints learnt it; none is every table. Only they take the
	// address for the names': what one pod is told opens nothing to pods with other rules.
	Tables []TableID
}

// WithLearnt returns np with learnt addresses: each has the identity of its name pattern, or,
// with several of them, in some tables only, or inside of a CIDR that policies name, a local
// identity that may do what each of these may. Nothing has been learnt into np before; tables
// and classes of an earlier result are as good as the operator's.
func WithLearnt(np NodePolicy, learnt []Learnt) NodePolicy {
	np = withoutLocal(np)
	labels := make(map[Identity]Labels, len(np.Identities))
	for _, il := range np.Identities {
		labels[il.Identity] = il.Labels
	}
	known := NewLearner(np).meanings(np, learnt, labels)
	if len(known.addrs) == 0 {
		return np
	}
	// An exact address of a CIDR of its own is learnt in its place.
	np.Addresses = slices.DeleteFunc(slices.Clone(np.Addresses), func(a Address) bool {
		_, named := known.addrs[a.Prefix.Addr()]
		return named && a.Prefix.IsSingleIP()
	})
	for addr, identity := range known.addrs {
		np.Addresses = append(np.Addresses, Address{Prefix: hostPrefix(addr), Identity: identity})
	}
	slices.SortFunc(np.Addresses, CompareAddresses)
	local := slices.Sorted(maps.Keys(known.numbered))
	np.Identities = slices.Clone(np.Identities)
	for _, number := range local {
		np.Identities = append(np.Identities, IdentityLabels{Identity: number, Labels: known.numbered[number].labels(labels)})
	}
	slices.SortFunc(np.Identities, func(a, b IdentityLabels) int { return cmp.Compare(a.Identity, b.Identity) })
	m := merger{classes: map[ClassID]Class{}}
	for _, c := range np.Classes {
		m.classes[c.ID] = c
	}
	np.Tables = slices.Clone(np.Tables)
	for i := range np.Tables {
		t := &np.Tables[i]
		entries, made := slices.Clone(t.Entries), map[string][]Entry{}
		for _, number := range local {
			parts := known.numbered[number].in(t.ID)
			key := fmt.Sprint(parts)
			if _, ok := made[key]; !ok {
				made[key] = m.entries(*t, parts)
			}
			entries = appendEntries(entries, number, made[key])
		}
		slices.SortFunc(entries, CompareEntries)
		t.Entries = entries
	}
	np.Classes = append(slices.Clone(np.Classes), m.made...)
	slices.SortFunc(np.Classes, func(a, b Class) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(m.problems, compareProblems)
	np.Problems = slices.Compact(m.problems)
	return np
}

// withoutLocal leaves out the entries and classes that WithLearnt made in tables.
func withoutLocal(np NodePolicy) NodePolicy {
	np.Problems = nil
	local := func(i Identity) bool { return i >= FirstLocalIdentity }
	np.Tables = slices.Clone(np.Tables)
	for i := range np.Tables {
		np.Tables[i].Entries = slices.DeleteFunc(slices.Clone(np.Tables[i].Entries), func(e Entry) bool { return local(e.Identity) })
	}
	np.Classes = slices.DeleteFunc(slices.Clone(np.Classes), func(c Class) bool { return strings.HasPrefix(string(c.ID), mergedPrefix) })
	return np
}
