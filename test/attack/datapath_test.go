package attack

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// packets is the payloads in packets, one or several, of one flow.
type packets func(src, dst netip.Addr, payload []byte) [][]byte

func one(build func(src, dst netip.Addr, payload []byte) []byte) packets {
	return func(src, dst netip.Addr, payload []byte) [][]byte { return [][]byte{build(src, dst, payload)} }
}

func udp4(port uint16, options ...byte) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, options: options}.packet(udp(4000, port, payload))
	})
}

func udp6(port uint16, extensions ...extension) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		return ipv6{src: src, dst: dst, protocol: unix.IPPROTO_UDP, extensions: extensions}.packet(udp(4000, port, payload))
	})
}

func protocol4(protocol byte, head ...byte) packets {
	return one(func(src, dst netip.Addr, payload []byte) []byte {
		return ipv4{src: src, dst: dst, protocol: protocol}.packet(append(append([]byte{}, head...), payload...))
	})
}

// padding is an extension header of eight bytes that says nothing.
func padding(kind byte) extension { return extension{kind, []byte{1, 4, 0, 0, 0, 0}} }

// kind is one kind of packet. It comes from a peer that may send nothing, and from one that may
// send to the open port.
type kind struct {
	name string
	ipv6 bool
	send packets
	// client is what a peer that may use the open port can do with it.
	client bool
}

func kinds() []kind { return append(kinds4(), kinds6()...) }

func kinds4() []kind {
	inner := func(src, dst netip.Addr, payload []byte) []byte {
		return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload))
	}
	return []kind{
		{"UDP", false, udp4(openPort), true},
		{"UDP to another port", false, udp4(openPort + 1), false},
		{"IP options", false, udp4(openPort, 1, 1, 1, 1), true},
		{"IP options before another port", false, udp4(openPort+1, 1, 1, 1, 1), false},
		{"loose source route", false, udp4(openPort+1, 131, 7, 4, 10, 244, 1, 2, 0), false},
		{"SCTP", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_SCTP}.packet(sctp(4000, openPort, payload))
		}), true},
		{"SCTP to another port", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_SCTP}.packet(sctp(4000, openPort+1, payload))
		}), false},
		{"ICMP echo", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_ICMP}.packet(icmpEcho(7, payload))
		}), false},
		{"ICMP error about no connection", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			b := append([]byte{3, 1, 0, 0, 0, 0, 0, 0}, inner(dst, src, payload)...)
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_ICMP}.packet(b)
		}), false},
		{"IP in IP", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_IPIP}.packet(inner(src, dst, payload))
		}), false},
		{"IPv6 in IP", false, protocol4(unix.IPPROTO_IPV6, 6<<4), false},
		{"GRE", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_GRE}.packet(append([]byte{0, 0, 8, 0}, inner(src, dst, payload)...))
		}), false},
		{"ESP", false, protocol4(unix.IPPROTO_ESP), false},
		{"UDP-Lite to the open port's number", false, protocol4(unix.IPPROTO_UDPLITE, 0xf, 0xa0, openPort>>8, openPort&0xff, 0, 0, 0, 0), false},
		{"raw IP of an unassigned protocol", false, protocol4(253), false},
		{"fragment without a first one", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 70, offset: 2}.packet(payload)
		}), false},
		{"TCP SYN whose flags are in the second fragment", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			syn := tcpSegment(src, dst, segment{srcPort: 4000, dstPort: openPort, flags: flagSYN}, payload)
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP, id: 71, more: true}.packet(syn[:8]),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP, id: 71, offset: 1}.packet(syn[8:]),
			}
		}, false},
		{"overlapping first fragment with another port", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 72, more: true}.packet(udp(4000, openPort, make([]byte, 8))),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 72, more: true}.packet(append(udp(4000, openPort+1, payload), make([]byte, 8-len(payload)%8)...)),
			}
		}, false},
		{"later fragment of another protocol", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 73, more: true}.packet(udp(4000, openPort, make([]byte, 8))),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP, id: 73, offset: 2}.packet(payload),
			}
		}, false},
		{"the fragments after a first one to another port", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 75, more: true}.packet(udp(4000, openPort+1, make([]byte, 8))),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 75, offset: 2}.packet(payload),
			}
		}, false},
		{"a fragment that comes before its first one", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 76, offset: 2}.packet(payload),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 76, more: true}.packet(udp(4000, openPort, make([]byte, 8))),
			}
		}, false},
		{"three fragments", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 77, more: true}.packet(udp(4000, openPort, make([]byte, 8))),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 77, offset: 2, more: true}.packet(make([]byte, 8)),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 77, offset: 3}.packet(payload),
			}
		}, true},
		{"two fragments", false, func(src, dst netip.Addr, payload []byte) [][]byte {
			return [][]byte{
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 74, more: true}.packet(udp(4000, openPort, make([]byte, 8))),
				ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP, id: 74, offset: 2}.packet(payload),
			}
		}, true},
		{"TCP SYN with data", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP}.packet(tcpSegment(src, dst, segment{srcPort: 4001, dstPort: openPort, flags: flagSYN}, payload))
		}), true},
		{"TCP SYN with data to a port of HTTP", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP}.packet(tcpSegment(src, dst, segment{srcPort: 4002, dstPort: httpPort, flags: flagSYN}, payload))
		}), false},
		{"TCP data of no connection to a port of HTTP", false, one(func(src, dst netip.Addr, payload []byte) []byte {
			return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP}.packet(tcpSegment(src, dst, segment{srcPort: 4003, dstPort: httpPort, flags: flagACK}, payload))
		}), false},
	}
}

// packets sends every kind of packet from a peer that may nothing, from one that may use the
// open port, and from a pod whose own egress is policed to where it may not send.
func (s *suite) packets(t *testing.T) {
	target := s.Pods["target"]
	server := openLink(t, target.NS, "eth0", false)
	stranger, client := s.attacker(t, "stranger"), s.attacker(t, "client")
	caged := s.attacker(t, "caged")
	plain := openLink(t, s.Pods["plain"].NS, "eth0", false)
	for _, k := range kinds() {
		family := 0
		if k.ipv6 {
			family = 1
		}
		send := func(t *testing.T, from *attacker, to string) []byte {
			payload := s.mark()
			for _, p := range k.send(from.pod.Addrs[family], s.Pods[to].Addrs[family], payload) {
				from.packet(p)
			}
			return payload
		}
		s.attack(t, result{"Data path", k.name + ", from a peer that may nothing", denied, "namespace"}, func(t *testing.T) {
			if server.sees(send(t, stranger, "target"), quiet) {
				t.Error("it came through")
			}
		})
		expected := denied
		if k.client {
			expected = same
		}
		s.attack(t, result{"Data path", k.name + ", from a peer with one open port", expected, "namespace"}, func(t *testing.T) {
			wait := quiet
			if k.client {
				wait = 2 * quiet
			}
			if came := server.sees(send(t, client, "target"), wait); came != k.client {
				t.Errorf("it came: %v", came)
			}
		})
		s.attack(t, result{"Data path", k.name + ", from a pod that may not send it", denied, "namespace"}, func(t *testing.T) {
			if plain.sees(send(t, caged, "plain"), quiet) {
				t.Error("it came through")
			}
		})
	}
	// None of this says anything unless the same frames come to who is not policed.
	for _, k := range kinds() {
		if k.name == "loose source route" || k.name == "IPv6 with a routing header that leads on" {
			continue // the node's own stack forwards none
		}
		t.Run("control, "+k.name, func(t *testing.T) {
			family := 0
			if k.ipv6 {
				family = 1
			}
			payload := s.mark()
			for _, p := range k.send(client.pod.Addrs[family], s.Pods["plain"].Addrs[family], payload) {
				client.packet(p)
			}
			if !plain.sees(payload, 5*quiet) {
				t.Error("it does not come to a pod without a policy either")
			}
		})
	}
}
