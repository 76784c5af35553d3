package policy

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
)

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

// named returns the identities of the patterns that an address's names match.
func (l *Learner) named(a Learnt) []Identity {
	if l.Refuses(a.Addr) != "" {
		return nil
	}
	var out []Identity
	for _, p := range l.patterns {
		if slices.ContainsFunc(a.Names, p.pattern.Matches) {
			out = append(out, p.identity)
		}
	}
	return out
}
