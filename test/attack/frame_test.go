package attack

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Frames are built by hand, as an attacker's are: headers are functions that wrap what they
// carry.

// udp is a UDP packet; IPv4 lets it have no checksum, for IPv6 ip fills it in.
func udp(srcPort, dstPort uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], srcPort)
	binary.BigEndian.PutUint16(b[2:], dstPort)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// sctp is an SCTP INIT chunk, which carries the payload as an unknown parameter.
func sctp(srcPort, dstPort uint16, payload []byte) []byte {
	b := make([]byte, 12+20, 32+len(payload))
	binary.BigEndian.PutUint16(b[0:], srcPort)
	binary.BigEndian.PutUint16(b[2:], dstPort)
	b[12] = 1
	binary.BigEndian.PutUint16(b[14:], uint16(20+len(payload)))
	return append(b, payload...)
}

const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

type segment struct {
	srcPort, dstPort uint16
	seq, ack         uint32
	flags            byte
}

// tcpSegment has a checksum for the addresses.
func tcpSegment(src, dst netip.Addr, s segment, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b[0:], s.srcPort)
	binary.BigEndian.PutUint16(b[2:], s.dstPort)
	binary.BigEndian.PutUint32(b[4:], s.seq)
	binary.BigEndian.PutUint32(b[8:], s.ack)
	b[12], b[13] = 5<<4, s.flags
	binary.BigEndian.PutUint16(b[14:], 64000)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[16:], pseudoChecksum(src, dst, unix.IPPROTO_TCP, b))
	return b
}

func icmpEcho(id uint16, payload []byte) []byte {
	b := append([]byte{8, 0, 0, 0, 0, 0, 0, 1}, payload...)
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// icmp6 has a checksum for the addresses. rest is what follows it in the header.
func icmp6(src, dst netip.Addr, kind, code byte, rest uint32, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind, code, 0, 0}, rest)
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], pseudoChecksum(src, dst, unix.IPPROTO_ICMPV6, b))
	return b
}

// ipv4 is the header of one packet or fragment.
type ipv4 struct {
	src, dst netip.Addr
	protocol byte
	options  []byte // a multiple of four bytes
	id       uint16
	offset   uint16 // in units of eight bytes
	more     bool
}

func (h ipv4) packet(payload []byte) []byte {
	size := 20 + len(h.options)
	b := make([]byte, size, size+len(payload))
	b[0] = 4<<4 | byte(size/4)
	binary.BigEndian.PutUint16(b[2:], uint16(size+len(payload)))
	binary.BigEndian.PutUint16(b[4:], h.id)
	frag := h.offset
	if h.more {
		frag |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], frag)
	b[8], b[9] = 64, h.protocol
	copy(b[12:], h.src.AsSlice())
	copy(b[16:], h.dst.AsSlice())
	copy(b[20:], h.options)
	binary.BigEndian.PutUint16(b[10:], checksum(b[:size]))
	return append(b, payload...)
}

// extension is an IPv6 extension header; data is what follows its first two bytes, to a whole
// multiple of eight.
type extension struct {
	kind byte
	data []byte
}

// fragment6 is the extension header of a fragment; offset is in units of eight bytes.
func fragment6(id byte, offset uint16, more bool) extension {
	at := offset << 3
	if more {
		at |= 1
	}
	return extension{unix.IPPROTO_FRAGMENT, []byte{byte(at >> 8), byte(at), 0, 0, 0, id}}
}

type ipv6 struct {
	src, dst   netip.Addr
	protocol   byte
	extensions []extension
}

// packet fills in UDP's checksum, which IPv6 wants.
func (h ipv6) packet(payload []byte) []byte {
	if h.protocol == unix.IPPROTO_UDP && len(payload) >= 8 {
		binary.BigEndian.PutUint16(payload[6:], 0)
		binary.BigEndian.PutUint16(payload[6:], pseudoChecksum(h.src, h.dst, h.protocol, payload))
	}
	var ext []byte
	first := h.protocol
	for i, e := range h.extensions {
		next := h.protocol
		if i+1 < len(h.extensions) {
			next = h.extensions[i+1].kind
		}
		if i == 0 {
			first = e.kind
		}
		length := byte((2+len(e.data))/8 - 1)
		if e.kind == unix.IPPROTO_FRAGMENT {
			length = 0
		}
		ext = append(append(ext, next, length), e.data...)
	}
	b := make([]byte, 40)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(ext)+len(payload)))
	b[6], b[7] = first, 64
	copy(b[8:], h.src.AsSlice())
	copy(b[24:], h.dst.AsSlice())
	return append(append(b, ext...), payload...)
}

func checksum(b []byte) uint16 { return fold(sum(b, 0)) }

func pseudoChecksum(src, dst netip.Addr, protocol byte, b []byte) uint16 {
	s := sum(src.AsSlice(), uint32(protocol)+uint32(len(b)))
	return fold(sum(b, sum(dst.AsSlice(), s)))
}

func sum(b []byte, s uint32) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		s += uint32(b[len(b)-1]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	if s = ^s & 0xffff; s == 0 {
		return 0xffff
	}
	return uint16(s)
}
