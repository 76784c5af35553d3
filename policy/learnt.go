package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Learnt is an address that the DNS gave for names that pods of this node asked for.
type Learnt struct {
	Addr netip.Addr
	// Names are normalised, and sorted.
	Names []string
}

// Learner says who learnt addresses are, by one NodePolicy. It does not change.
type Learner struct {
	patterns []namedPattern
	byPrefix map[netip.Prefix]Identity
}

type namedPattern struct {
	pattern  NamePattern
	identity Identity
}

// NewLearner returns the Learner for what np says of addresses and names.
func NewLearner(np NodePolicy) *Learner {
	l := &Learner{byPrefix: make(map[netip.Prefix]Identity, len(np.Addresses))}
	for _, a := range np.Addresses {
		l.byPrefix[a.Prefix] = a.Identity
	}
	for _, il := range np.Identities {
		if il.Identity < FirstNameIdentity || il.Identity >= FirstLocalIdentity {
			continue
		}
		for key := range il.Labels {
			if text, ok := strings.CutPrefix(key, LabelNamePrefix); ok {
				l.patterns = append(l.patterns, namedPattern{NamePattern(text), il.Identity})
			}
		}
	}
	slices.SortFunc(l.patterns, func(a, b namedPattern) int { return cmp.Compare(a.identity, b.identity) })
	return l
}

// Wants says whether some policy names the name.
func (l *Learner) Wants(name string) bool {
	return slices.ContainsFunc(l.patterns, func(p namedPattern) bool { return p.pattern.Matches(name) })
}

// Refuses says why an address is not learnt, whatever name it is given for; "" if it is. An
// answer must not lead where the policies' names cannot be meant: into the cluster, to the
// node or to what hands out credentials beside it.
func (l *Learner) Refuses(addr netip.Addr) string {
	addr = addr.Unmap()
	switch {
	case !addr.IsValid() || addr.Zone() != "":
		return "no address"
	case addr.IsUnspecified() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "no address of a host"
	case addr.IsLoopback():
		return "loopback"
	case addr.IsLinkLocalUnicast():
		return "link-local"
	case addr.IsMulticast():
		return "multicast"
	case isMetadata(addr):
		return "metadata service"
	}
	if inner, ok := embedded(addr); ok {
		if reason := l.Refuses(inner); reason != "" {
			return reason
		}
	}
	if base := l.base(addr); base != IdentityWorld && (base < FirstCIDRIdentity || base >= FirstNodeIdentity) {
		return "address of the cluster"
	}
	return ""
}

// isMetadata knows the addresses of clouds' metadata services that are not link-local.
func isMetadata(addr netip.Addr) bool {
	switch addr.String() {
	case "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192":
		return true
	}
	return false
}

// embedded returns the IPv4 address that a translated one (64:ff9b::/96) leads to.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	if !addr.Is6() || [12]byte(b[:12]) != [12]byte{0, 0x64, 0xff, 0x9b} {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b[12:])), true
}

// base returns who is behind an address without names.
func (l *Learner) base(addr netip.Addr) Identity {
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, err := addr.Prefix(bits)
		if err != nil {
			break
		}
		if identity, ok := l.byPrefix[p]; ok {
			return identity
		}
	}
	return IdentityWorld
}

// parts returns the identities that a learnt address has at once, sorted; none if no policy
// names any of its names, or it is refused.
func (l *Learner) parts(a Learnt) []Identity {
	if l.Refuses(a.Addr) != "" {
		return nil
	}
	var out []Identity
	for _, p := range l.patterns {
		if slices.ContainsFunc(a.Names, p.pattern.Matches) {
			out = append(out, p.identity)
		}
	}
	if base := l.base(a.Addr.Unmap()); len(out) > 0 && base != IdentityWorld {
		out = append(out, base)
	}
	slices.Sort(out)
	return out
}

// WithLearnt returns np with learnt addresses: each has the identity of its name pattern, or,
// with several of them or inside of a CIDR that policies name, a local identity that may do
// what each of these may. Nothing has been learnt into np before; tables and classes of an
// earlier result are as good as the operator's.
func WithLearnt(np NodePolicy, learnt []Learnt) NodePolicy {
	np = withoutLocal(np)
	l := NewLearner(np)
	var sets [][]Identity
	addrs := make(map[netip.Addr][]Identity, len(learnt))
	for _, a := range learnt {
		parts := l.parts(a)
		if len(parts) == 0 {
			continue
		}
		addrs[a.Addr.Unmap()] = parts
		if len(parts) > 1 {
			sets = append(sets, parts)
		}
	}
	if len(addrs) == 0 {
		return np
	}
	labels := make(map[Identity]Labels, len(np.Identities))
	for _, il := range np.Identities {
		labels[il.Identity] = il.Labels
	}
	slices.SortFunc(sets, slices.Compare)
	sets = slices.CompactFunc(sets, slices.Equal)
	numbers := numberSets(sets, labels)
	// An exact address of a CIDR of its own is learnt in its place.
	np.Addresses = slices.DeleteFunc(slices.Clone(np.Addresses), func(a Address) bool {
		return a.Prefix.IsSingleIP() && addrs[a.Prefix.Addr()] != nil
	})
	for addr, parts := range addrs {
		identity := parts[0]
		if len(parts) > 1 {
			identity = numbers[setKey(parts)]
		}
		np.Addresses = append(np.Addresses, Address{Prefix: hostPrefix(addr), Identity: identity})
	}
	slices.SortFunc(np.Addresses, CompareAddresses)
	np.Identities = slices.Clone(np.Identities)
	m := merger{classes: map[ClassID]Class{}}
	for _, c := range np.Classes {
		m.classes[c.ID] = c
	}
	for _, parts := range sets {
		all := Labels{}
		for _, part := range parts {
			for key, value := range labels[part] {
				all[key] = value
			}
		}
		np.Identities = append(np.Identities, IdentityLabels{Identity: numbers[setKey(parts)], Labels: all})
	}
	slices.SortFunc(np.Identities, func(a, b IdentityLabels) int { return cmp.Compare(a.Identity, b.Identity) })
	np.Tables = slices.Clone(np.Tables)
	for i := range np.Tables {
		t := &np.Tables[i]
		entries := slices.Clone(t.Entries)
		for _, parts := range sets {
			entries = appendEntries(entries, numbers[setKey(parts)], m.entries(*t, parts))
		}
		slices.SortFunc(entries, CompareEntries)
		t.Entries = entries
	}
	np.Classes = append(slices.Clone(np.Classes), m.made...)
	slices.SortFunc(np.Classes, func(a, b Class) int { return cmp.Compare(a.ID, b.ID) })
	return np
}

// numberSets gives each set a number by what its identities stand for: the numbers of the
// patterns themselves may change with other patterns.
func numberSets(sets [][]Identity, labels map[Identity]Labels) map[string]Identity {
	keys := make([]string, len(sets))
	texts := make(map[string]string, len(sets))
	for i, parts := range sets {
		keys[i] = setKey(parts)
		var names []string
		for _, part := range parts {
			names = append(names, labelsText(labels[part]))
		}
		slices.Sort(names)
		texts[keys[i]] = strings.Join(names, "\x01")
	}
	slices.SortFunc(keys, func(a, b string) int { return cmp.Compare(texts[a], texts[b]) })
	return identityNumbers(keys, func(k string) string { return texts[k] }, FirstLocalIdentity, 1<<32-uint64(FirstLocalIdentity))
}

func setKey(parts []Identity) string { return fmt.Sprint(parts) }

// withoutLocal leaves out the entries and classes that WithLearnt made in tables.
func withoutLocal(np NodePolicy) NodePolicy {
	local := func(i Identity) bool { return i >= FirstLocalIdentity }
	np.Tables = slices.Clone(np.Tables)
	for i := range np.Tables {
		np.Tables[i].Entries = slices.DeleteFunc(slices.Clone(np.Tables[i].Entries), func(e Entry) bool { return local(e.Identity) })
	}
	np.Classes = slices.DeleteFunc(slices.Clone(np.Classes), func(c Class) bool { return strings.HasPrefix(string(c.ID), mergedPrefix) })
	return np
}
