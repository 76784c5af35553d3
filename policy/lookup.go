package policy

import (
	"net/netip"
	"slices"
)

// Lookup returns the entry that decides a packet to or from a peer's identity, as the
// data path looks for it; false if there is none, and DefaultDeny decides. For ICMP the
// port is the type in the high byte.
func (t Table) Lookup(peer Identity, protocol Protocol, port uint16) (Entry, bool) {
	if e, ok := t.lookupExact(peer, protocol, port); ok || peer == IdentityAny {
		return e, ok
	}
	return t.lookupExact(IdentityAny, protocol, port)
}

func (t Table) lookupExact(peer Identity, protocol Protocol, port uint16) (Entry, bool) {
	start, _ := slices.BinarySearchFunc(t.Entries, peer, func(e Entry, id Identity) int {
		if e.Identity < id {
			return -1
		}
		return 1
	})
	var best Entry
	found := false
	for _, e := range t.Entries[start:] {
		if e.Identity != peer {
			break
		}
		if e.matches(protocol, port) && (!found || e.specificity() > best.specificity()) {
			best, found = e, true
		}
	}
	return best, found
}

func (e Entry) matches(protocol Protocol, port uint16) bool {
	if e.Protocol == ProtocolAny {
		return true
	}
	return e.Protocol == protocol && (port^e.Port)>>(16-e.PrefixLen) == 0
}

// specificity is greater for the entry that decides: a protocol before none, then the longer prefix.
func (e Entry) specificity() int {
	if e.Protocol == ProtocolAny {
		return 0
	}
	return 1 + int(e.PrefixLen)
}

// IdentityOf returns who is behind an address: the longest prefix decides, and what has
// none is the world.
func (np NodePolicy) IdentityOf(addr netip.Addr) Identity {
	addr = addr.Unmap().WithZone("")
	best := Address{Identity: IdentityWorld}
	bits := -1
	for _, a := range np.Addresses {
		if a.Prefix.Bits() > bits && a.Prefix.Contains(addr) {
			best, bits = a, a.Prefix.Bits()
		}
	}
	return best.Identity
}
