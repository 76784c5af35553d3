package policy

import (
	"cmp"
	"net/netip"
	"strings"
)

// hostPrefix is the prefix that holds one address only.
func hostPrefix(addr netip.Addr) netip.Prefix {
	if !addr.IsValid() {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(addr.WithZone(""), addr.BitLen())
}

// canonical writes a prefix as every address is looked up: masked, IPv4 as IPv4.
func canonical(p netip.Prefix) netip.Prefix {
	if addr := p.Addr(); addr.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(addr.Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// within says whether all of inner lies in outer.
func within(inner, outer netip.Prefix) bool {
	return inner.Bits() >= outer.Bits() && outer.Contains(inner.Addr())
}

// insideOne says whether all of p lies in one of ranges.
func insideOne(p netip.Prefix, ranges map[netip.Prefix]bool) bool {
	for bits := p.Bits(); bits >= 0; bits-- {
		if outer, err := p.Addr().Prefix(bits); err == nil && ranges[outer] {
			return true
		}
	}
	return false
}

// splitName takes "namespace/name" apart.
func splitName(key string) (namespace, name string) {
	if namespace, name, ok := strings.Cut(key, "/"); ok {
		return namespace, name
	}
	return "", key
}
