package policy

import (
	"cmp"
	"slices"
)

// portRange is the ports lo to hi of one protocol, both included. ICMP types are in the high byte.
type portRange struct {
	protocol Protocol
	lo, hi   uint16
}

const lastPort = 1<<16 - 1

// rangesOf returns the ranges that p means, less a named port, which depends on the
// endpoint. A Port that contradicts itself means none.
func rangesOf(p Port) []portRange {
	if p.Name != "" {
		return nil
	}
	if p.Protocol == ProtocolICMP || p.Protocol == ProtocolICMPv6 {
		switch {
		case p.ICMPType < 0:
			return []portRange{{p.Protocol, 0, lastPort}}
		case p.ICMPType > 255:
			return nil
		}
		return []portRange{{p.Protocol, uint16(p.ICMPType) << 8, uint16(p.ICMPType)<<8 | 0xff}}
	}
	lo, hi := p.Port, p.Port
	if p.EndPort != 0 {
		hi = p.EndPort
	}
	if p.Port == 0 {
		hi = lastPort
	}
	if hi < lo {
		return nil
	}
	var out []portRange
	for _, protocol := range protocolsOf(p.Protocol) {
		out = append(out, portRange{protocol, lo, hi})
	}
	return out
}

// protocolsOf returns the protocols that a port's protocol means: any is those with ports.
func protocolsOf(p Protocol) []Protocol {
	if p == ProtocolAny {
		return []Protocol{ProtocolTCP, ProtocolUDP, ProtocolSCTP}
	}
	return []Protocol{p}
}

// namedRanges returns the ranges that a named port means on an endpoint, sorted. Where
// the name stands for several ports, an allow means none of them and a deny all.
func namedRanges(p Port, ports []NamedPort, deny bool) []portRange {
	var out []portRange
	for _, protocol := range protocolsOf(p.Protocol) {
		var found []portRange
		for _, n := range ports {
			if n.Name == p.Name && n.Protocol == protocol {
				found = append(found, portRange{protocol, n.Port, n.Port})
			}
		}
		found = sortRanges(found)
		if deny || len(found) == 1 {
			out = append(out, found...)
		}
	}
	return sortRanges(out)
}

func sortRanges(r []portRange) []portRange {
	slices.SortFunc(r, func(a, b portRange) int {
		return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi))
	})
	return slices.Compact(r)
}

// portPrefix is the ports whose highest length bits are port's.
type portPrefix struct {
	port   uint16
	length uint8
}

// prefixes returns the fewest prefixes that hold exactly lo to hi, in order.
func prefixes(lo, hi uint16) []portPrefix {
	var out []portPrefix
	next, end := uint32(lo), uint32(hi)
	for next <= end {
		length := uint8(16)
		for length > 0 {
			size := uint32(1) << (17 - length)
			if next%size != 0 || next+size-1 > end {
				break
			}
			length--
		}
		out = append(out, portPrefix{uint16(next), length})
		next += uint32(1) << (16 - length)
	}
	return out
}
