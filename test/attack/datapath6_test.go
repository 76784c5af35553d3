package attack

import (
	"net/netip"

	"golang.org/x/sys/unix"
)

// carry is one IPv6 packet of a protocol, with the head before the payload.
func carry(protocol byte, head ...byte) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		return ipv6{src: src, dst: dst, protocol: protocol}.packet(append(append([]byte{}, head...), payload...))
	})
}

// pieces are the fragments of one UDP datagram, in the order in which they are sent; the
// payload is in the last of them.
func pieces(id byte, port uint16, offsets ...uint16) packets {
	return func(src, dst netip.Addr, payload []byte) [][]byte {
		var out [][]byte
		last := offsets[0]
		for _, o := range offsets {
			last = max(last, o)
		}
		for _, o := range offsets {
			data := make([]byte, 8)
			switch o {
			case 0:
				data = udp(4000, port, data)
			case last:
				data = payload
			}
			// The checksum is the receiver's concern: nobody on the way looks at it.
			h := ipv6{src: src, dst: dst, protocol: unix.IPPROTO_UDP, extensions: []extension{fragment6(id, o, o != last)}}
			out = append(out, h.packet(data))
		}
		return out
	}
}

func syn6(port, srcPort uint16, flags byte) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_TCP}.packet(tcpSegment(src, dst, segment{srcPort: srcPort, dstPort: port, flags: flags}, payload))
	})
}

// error6 is an ICMPv6 error about a datagram that was never sent.
func error6(what byte, rest uint32) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		about := ipv6{src: dst, dst: src, protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload))
		return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_ICMPV6}.packet(icmp6(src, dst, what, 0, rest, about))
	})
}

func kinds6() []kind {
	const authentication, noNext, mobility = 51, 59, 135
	router := extension{unix.IPPROTO_ROUTING, append([]byte{4, 0, 0, 0, 0, 0}, make([]byte, 16)...)}
	left := extension{unix.IPPROTO_ROUTING, append([]byte{0, 1, 0, 0, 0, 0}, make([]byte, 16)...)}
	atomic := extension{unix.IPPROTO_FRAGMENT, []byte{0, 0, 0, 0, 0, 9}}
	options := padding(unix.IPPROTO_DSTOPTS)
	many := []extension{options, options, options, options, options, options, options}
	inner := func(src, dst netip.Addr, payload []byte) []byte {
		return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload))
	}
	return []kind{
		{"UDP over IPv6", true, udp6(openPort), true},
		{"UDP over IPv6 to another port", true, udp6(openPort + 1), false},
		{"IPv6 with hop-by-hop options", true, udp6(openPort, padding(unix.IPPROTO_HOPOPTS)), true},
		{"IPv6 with destination options", true, udp6(openPort, options), true},
		{"IPv6 with a routing header that is used up", true, udp6(openPort, router), true},
		{"IPv6 with a routing header that leads on", true, udp6(openPort, left), false},
		{"IPv6 in one fragment", true, udp6(openPort, atomic), true},
		{"IPv6 with more extension headers than are read", true, udp6(openPort, many...), false},
		{"IPv6 extension headers before another port", true, udp6(openPort+1, options, atomic), false},
		{"IPv6 with an authentication header before the open port", true, udp6(openPort, extension{authentication, make([]byte, 22)}), false},
		{"IPv6 with a mobility header before the open port", true, udp6(openPort, extension{mobility, make([]byte, 6)}), false},
		{"IPv6 without a next header", true, carry(noNext, 0x0f, 0xa0, openPort>>8, openPort&0xff), false},
		{"SCTP over IPv6", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_SCTP}.packet(sctp(4000, openPort, payload))
		}), true},
		{"SCTP over IPv6 to another port", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_SCTP}.packet(sctp(4000, openPort+1, payload))
		}), false},
		{"ICMPv6 echo", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_ICMPV6}.packet(icmp6(src, dst, 128, 0, 7<<16|1, payload))
		}), false},
		{"ICMPv6 error about no connection", true, error6(1, 0), false},
		{"ICMPv6 packet too big about no connection", true, error6(2, 1280), false},
		{"neighbour advertisement from beyond the link", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_ICMPV6}.packet(icmp6(src, dst, 136, 0, 0, append(src.AsSlice(), payload...)))
		}), false},
		{"IPv6 in IPv6", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_IPV6}.packet(inner(src, dst, payload))
		}), false},
		{"IP in IPv6", true, carry(unix.IPPROTO_IPIP, 4<<4|5), false},
		{"GRE over IPv6", true, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_GRE}.packet(append([]byte{0, 0, 0x86, 0xdd}, inner(src, dst, payload)...))
		}), false},
		{"ESP over IPv6", true, carry(unix.IPPROTO_ESP), false},
		{"UDP-Lite over IPv6 to the open port's number", true, carry(unix.IPPROTO_UDPLITE, 0xf, 0xa0, openPort>>8, openPort&0xff, 0, 0, 0, 0), false},
		{"raw IPv6 of an unassigned protocol", true, carry(253), false},
		{"IPv6 fragment without a first one", true, pieces(70, openPort, 2), false},
		{"two IPv6 fragments", true, pieces(71, openPort, 0, 2), true},
		{"three IPv6 fragments", true, pieces(72, openPort, 0, 2, 3), true},
		{"the IPv6 fragments after a first one to another port", true, pieces(73, openPort+1, 0, 2), false},
		{"an IPv6 fragment that comes before its first one", true, pieces(74, openPort, 2, 0), false},
		{"overlapping first IPv6 fragment with another port", true, func(src, dst netip.Addr, payload []byte) [][]byte {
			first := pieces(75, openPort, 0, 9)(src, dst, nil)[0]
			h := ipv6{src: src, dst: dst, protocol: unix.IPPROTO_UDP, extensions: []extension{fragment6(75, 0, true)}}
			return [][]byte{first, h.packet(append(udp(4000, openPort+1, payload), make([]byte, 8-len(payload)%8)...))}
		}, false},
		{"TCP SYN over IPv6 whose flags are in the second fragment", true, func(src, dst netip.Addr, payload []byte) [][]byte {
			syn := tcpSegment(src, dst, segment{srcPort: 4000, dstPort: openPort, flags: flagSYN}, payload)
			head := func(offset uint16, more bool) ipv6 {
				return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_TCP, extensions: []extension{fragment6(76, offset, more)}}
			}
			return [][]byte{head(0, true).packet(syn[:8]), head(1, false).packet(syn[8:])}
		}, false},
		{"TCP SYN with data over IPv6", true, syn6(openPort, 4001, flagSYN), true},
		{"TCP SYN with data over IPv6 to a port of HTTP", true, syn6(httpPort, 4002, flagSYN), false},
		{"TCP data of no connection over IPv6 to a port of HTTP", true, syn6(httpPort, 4003, flagACK), false},
	}
}
