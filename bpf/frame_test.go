package bpf

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// frame is an Ethernet frame to be made; what is not set is 0.
type frame struct {
	src, dst netip.AddrPort // for an ICMP echo, src's port is the id
	proto    uint8
	flags    uint8 // TCP's
	seq      uint32
	icmp     uint8 // type
	inner    []byte
	options  []byte // IPv4 options or IPv6 extension headers (the first one's type is ext)
	ext      uint8
	frag     uint16 // IPv4: flags and offset as on the wire; IPv6: offset and M
	hops     uint8
	id       uint16
	version  uint8 // IPv4: version and header length, if wrong ones are wanted
}

const (
	fin = 1
	syn = 2
	rst = 4
	ack = 16
)

func tcp(src, dst string, flags uint8) frame {
	return frame{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: unix.IPPROTO_TCP, flags: flags}
}

func udp(src, dst string) frame {
	return frame{src: netip.MustParseAddrPort(src), dst: netip.MustParseAddrPort(dst), proto: unix.IPPROTO_UDP}
}

func icmp(src, dst string, typ uint8, id uint16) frame {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	proto := uint8(unix.IPPROTO_ICMP)
	if s.Is6() {
		proto = unix.IPPROTO_ICMPV6
	}
	return frame{src: netip.AddrPortFrom(s, id), dst: netip.AddrPortFrom(d, 0), proto: proto, icmp: typ, hops: 255}
}

// about makes f an ICMP error about another frame.
func (f frame) about(inner frame) frame {
	f.inner = inner.ip()
	return f
}

func (f frame) with(change func(*frame)) frame {
	change(&f)
	return f
}

func (f frame) l4() []byte {
	switch f.proto {
	case unix.IPPROTO_TCP:
		b := make([]byte, 20)
		binary.BigEndian.PutUint16(b, f.src.Port())
		binary.BigEndian.PutUint16(b[2:], f.dst.Port())
		binary.BigEndian.PutUint32(b[4:], f.seq)
		b[12], b[13] = 5<<4, f.flags
		return b
	case unix.IPPROTO_UDP, unix.IPPROTO_SCTP:
		b := make([]byte, 16)
		binary.BigEndian.PutUint16(b, f.src.Port())
		binary.BigEndian.PutUint16(b[2:], f.dst.Port())
		binary.BigEndian.PutUint16(b[4:], 16)
		return b
	case unix.IPPROTO_ICMP, unix.IPPROTO_ICMPV6:
		b := make([]byte, 8)
		b[0] = f.icmp
		binary.BigEndian.PutUint16(b[4:], f.src.Port())
		return append(b, f.inner...)
	}
	return make([]byte, 16)
}

func (f frame) ip() []byte {
	l4 := f.l4()
	if f.hops == 0 {
		f.hops = 64
	}
	if f.src.Addr().Is4() {
		b := make([]byte, 20, 60)
		b[0] = byte(4<<4 | (20+len(f.options))/4)
		if f.version != 0 {
			b[0] = f.version
		}
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(f.options)+len(l4)))
		binary.BigEndian.PutUint16(b[4:], f.id)
		binary.BigEndian.PutUint16(b[6:], f.frag)
		b[8], b[9] = f.hops, f.proto
		s, d := f.src.Addr().As4(), f.dst.Addr().As4()
		copy(b[12:], s[:])
		copy(b[16:], d[:])
		return append(append(b, f.options...), l4...)
	}
	b := make([]byte, 40, 80)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], uint16(len(f.options)+len(l4)))
	b[6], b[7] = f.proto, f.hops
	if len(f.options) > 0 {
		b[6] = f.ext
	}
	s, d := f.src.Addr().As16(), f.dst.Addr().As16()
	copy(b[8:], s[:])
	copy(b[24:], d[:])
	return append(append(b, f.options...), l4...)
}

// bytes is the whole frame.
func (f frame) bytes() []byte {
	b := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00}
	if f.src.Addr().Is6() {
		b[12], b[13] = 0x86, 0xdd
	}
	return append(b, f.ip()...)
}

// ethernet is a frame of another type.
func ethernet(etherType uint16) []byte {
	b := make([]byte, 60)
	b[0], b[6] = 2, 2
	binary.BigEndian.PutUint16(b[12:], etherType)
	return b
}
