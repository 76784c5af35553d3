package attack

import (
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/test/attack/node"
)

// spoofing is what claims to be somebody else, or something else than IP.
func (s *suite) spoofing(t *testing.T) {
	target, plain := s.Pods["target"], s.Pods["plain"]
	server, open := openLink(t, target.NS, "eth0", false), openLink(t, plain.NS, "eth0", false)
	stranger := s.attacker(t, "stranger")
	caged, remote, client := s.attacker(t, "caged"), s.attacker(t, "remote"), s.attacker(t, "client")

	for _, tt := range []struct {
		name     string
		from     *attacker
		src, dst netip.Addr
		expected string
	}{
		{"another pod's address, from a policed pod", caged, s.Pods["client"].Addrs[0], plain.Addrs[0], denied},
		{"another pod's address, from a policed pod, over IPv6", caged, s.Pods["client"].Addrs[1], plain.Addrs[1], denied},
		{"an address of the world, from a policed pod", caged, netip.MustParseAddr("192.0.2.7"), target.Addrs[0], denied},
		{"the node's address, from a policed pod", caged, netip.MustParseAddr(node.Addr), target.Addrs[0], denied},
		{"an IPv4-mapped address, from a policed pod", caged, netip.MustParseAddr("::ffff:10.244.1.2"), target.Addrs[1], denied},
		{"a probe with the node's address, forged from outside", remote, netip.MustParseAddr(node.Addr), target.Addrs[0], denied},
		{"a probe with the gateway's address, forged from outside", remote, netip.MustParseAddr("10.244.1.1"), target.Addrs[0], denied},
		{"a probe with the gateway's address, forged from outside, over IPv6", remote, netip.MustParseAddr("fd00:244:1::1"), target.Addrs[1], denied},
		{"a probe with another node's address", remote, netip.MustParseAddr(node.OtherNode), target.Addrs[0], denied},
		{"an IPv4-mapped client, from outside", remote, netip.MustParseAddr("::ffff:10.244.1.2"), target.Addrs[1], denied},
		{"a client's address, from a pod that is not policed", stranger, s.Pods["client"].Addrs[0], target.Addrs[0], denied},
		{"a client's address, from a pod that is not policed, over IPv6", stranger, s.Pods["client"].Addrs[1], target.Addrs[1], denied},
		{"a client of another node", remote, remote.v4(), target.Addrs[0], same},
		{"a client of another node, over IPv6", remote, remote.v6(), target.Addrs[1], same},
	} {
		s.attack(t, result{"Data path", tt.name, tt.expected, "namespace"}, func(t *testing.T) {
			payload := s.mark()
			if tt.src.Is4() {
				tt.from.packet(ipv4{src: tt.src, dst: tt.dst, protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload)))
			} else {
				tt.from.packet(ipv6{src: tt.src, dst: tt.dst, protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload)))
			}
			at := server
			if tt.dst == plain.Addrs[0] || tt.dst == plain.Addrs[1] {
				at = open
			}
			if came := at.sees(payload, quiet); came != (tt.expected == same) {
				t.Errorf("it came: %v", came)
			}
		})
	}

	t.Run("hardware address", func(t *testing.T) {
		mac := net.HardwareAddr{2, 0x73, 0x65, 0x70, 0x74, 1} // as a leg of the proxy has it
		for name, dst := range map[string]*node.Pod{"to whom it may not send": plain, "to whom it may send": target} {
			expected, at := denied, open
			if dst == target {
				expected, at = same, server
			}
			s.attack(t, result{"Data path", "the proxy's hardware address as a policed pod's source, " + name, expected, "namespace"}, func(t *testing.T) {
				payload := s.mark()
				caged.send(frame(caged.gateway, mac, ipv4{src: caged.v4(), dst: dst.Addrs[0], protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, payload))))
				if came := at.sees(payload, quiet); came != (expected == same) {
					t.Errorf("it came: %v", came)
				}
			})
		}
	})
	s.vlan(t, caged, client)
}

// vlan sends tagged frames. A foreign program behind ours, where the pod's frames come in,
// says how many went on.
func (s *suite) vlan(t *testing.T, caged, client *attacker) {
	const frames = 50
	for _, tt := range []struct {
		name string
		tags []uint32
	}{
		{"VLAN", []uint32{unix.ETH_P_8021Q<<16 | 5}},
		{"service VLAN", []uint32{unix.ETH_P_8021AD<<16 | 5}},
		{"priority", []uint32{unix.ETH_P_8021Q << 16}},
		{"double", []uint32{unix.ETH_P_8021AD<<16 | 5, unix.ETH_P_8021Q<<16 | 6}},
	} {
		// Half of the frames are of either family.
		passed := func(t *testing.T, from *attacker) uint64 {
			t.Helper()
			f := newForeign(t, tcxNext)
			s.attachTCX(t, f, from.pod, ebpf.AttachTCXIngress, link.Tail())
			to := s.Pods["plain"].Addrs
			for range frames / 2 {
				from.packet(ipv4{src: from.v4(), dst: to[0], protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, s.mark())), tt.tags...)
				from.packet(ipv6{src: from.v6(), dst: to[1], protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort, s.mark())), tt.tags...)
			}
			return f.count(t)
		}
		s.attack(t, result{"Data path", tt.name + " tag, from a policed pod", denied, "namespace"}, func(t *testing.T) {
			if n := passed(t, caged); n >= frames/2 { // a few are neighbours' questions
				t.Errorf("%d frames came through", n)
			}
		})
		t.Run("control, "+tt.name, func(t *testing.T) {
			if n := passed(t, client); n < frames {
				t.Errorf("of a pod whose egress is not policed only %d frames come", n)
			}
		})
	}
}
