package bpf

import (
	"net/netip"
	"testing"

	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

const (
	server4, server6 = "10.0.0.3", "fd00::3"
	client           = "10.0.0.4" // its egress is policed
	audited          = "10.0.0.5" // the server's table, in audit mode
	l7Peer, l7Peer6  = "10.0.1.1", "fd00:1::1"
	l4Peer, l4Peer6  = "10.0.1.2", "fd00:1::2"
	denyPeer         = "10.0.1.3"
	outside          = "192.0.2.1"
	node             = "10.0.0.1"
	class            = 33001
)

func pods() []netip.Addr {
	return []netip.Addr{addr(server4), addr(server6), addr(client), addr(audited)}
}

// testState has a server (table 1 on ingress) and a client (table 2 on egress).
func testState() State {
	entry := func(table, identity uint32, proto uint8, port uint16, v policy.Verdict, rule uint32) TableEntry {
		e := TableEntry{Table: table, Identity: identity, Protocol: proto, Port: port, PrefixLen: 16, Verdict: v, Rule: rule}
		if v == policy.Redirected {
			e.Class = class
		}
		return e
	}
	echo := func(table uint32, proto uint8, typ uint16) TableEntry {
		return TableEntry{Table: table, Protocol: proto, Port: typ << 8, PrefixLen: 8, Verdict: policy.Forwarded, Rule: 9}
	}
	prefix := netip.MustParsePrefix
	return State{
		Endpoints: []EndpointEntry{
			{Addr: addr(server4), Number: 3, Ingress: 1},
			{Addr: addr(client), Number: 4, Egress: 2},
			{Addr: addr(audited), Number: 5, Ingress: 1, AuditIngress: true},
			{Addr: addr(server6), Number: 3, Ingress: 1},
		},
		Addresses: []AddressEntry{
			{Prefix: prefix("10.0.1.0/24"), Identity: 3},
			{Prefix: prefix(l7Peer + "/32"), Identity: 100},
			{Prefix: prefix(l4Peer + "/32"), Identity: 101},
			{Prefix: prefix(denyPeer + "/32"), Identity: 102},
			{Prefix: prefix(l7Peer6 + "/128"), Identity: 100},
			{Prefix: prefix(l4Peer6 + "/128"), Identity: 101},
		},
		Tables: []TableEntry{
			echo(1, unix.IPPROTO_ICMP, 8),
			entry(1, 0, unix.IPPROTO_TCP, 9090, policy.Forwarded, 7),
			entry(1, 0, unix.IPPROTO_UDP, 53, policy.Forwarded, 8),
			echo(1, unix.IPPROTO_ICMPV6, 128),
			entry(1, 2, unix.IPPROTO_TCP, 8080, policy.Forwarded, 4),
			entry(1, 3, unix.IPPROTO_UDP, 80, policy.Redirected, 5),
			entry(1, 3, unix.IPPROTO_SCTP, 80, policy.Redirected, 5),
			entry(1, 100, unix.IPPROTO_TCP, 80, policy.Redirected, 5),
			entry(1, 101, unix.IPPROTO_TCP, 80, policy.Forwarded, 6),
			entry(1, 101, unix.IPPROTO_SCTP, 80, policy.Forwarded, 6),
			entry(1, 102, unix.IPPROTO_TCP, 9090, policy.Denied, 3),
			entry(2, 100, unix.IPPROTO_TCP, 80, policy.Redirected, 11),
			entry(2, 101, unix.IPPROTO_TCP, 80, policy.Forwarded, 12),
			entry(2, 2, unix.IPPROTO_UDP, 53, policy.Forwarded, 13),
		},
	}
}

func TestVerdicts(t *testing.T) {
	const port80, server80 = ":80", server4 + ":80"
	withMore := func(f *frame) { f.frag, f.id = 0x2000, 7 }
	later := func(f *frame) { f.frag, f.id = 0x0004, 7 }
	otherLater := func(f *frame) { f.frag, f.id = 0x0004, 8 }
	tests := []struct {
		name  string
		steps []step
	}{
		{"a port that is allowed at L4, and its replies", []step{
			toPod("syn", tcp(l4Peer+":4000", server80, syn), next, ""),
			fromPod("syn ack", tcp(server80, l4Peer+":4000", syn|ack), next, ""),
			toPod("data", tcp(l4Peer+":4000", server80, ack), next, ""),
			toPod("another port", tcp(l4Peer+":4000", server4+":81", syn), drop, "policy"),
		}},
		{"default deny", []step{
			toPod("identity without entries", tcp(denyPeer+":4000", server80, syn), drop, "policy"),
			toPod("prefix's identity", tcp("10.0.1.77:4000", server80, syn), drop, "policy"),
			toPod("udp", udp(l4Peer+":4000", server80), drop, "policy"),
			toPod("another protocol", tcp(l4Peer+":4000", server80, 0).with(func(f *frame) { f.proto = 47 }), drop, "policy"),
		}},
		{"a deny of the peer beats an allow of everyone", []step{
			toPod("anyone", tcp(outside+":4000", server4+":9090", syn), next, ""),
			toPod("denied", tcp(denyPeer+":4000", server4+":9090", syn), drop, "policy"),
		}},
		{"world is who is not known", []step{
			toPod("its port", tcp(outside+":4000", server4+":8080", syn), next, ""),
			toPod("another", tcp(outside+":4000", server80, syn), drop, "policy"),
			toPod("a known peer is not world", tcp(l4Peer+":4000", server4+":8080", syn), drop, "policy"),
		}},
		{"redirected on ingress", []step{
			toPod("mid-stream of nothing", tcp(l7Peer+":4000", server80, ack), redirect, "midstream"),
			toPod("syn and fin is not a beginning", tcp(l7Peer+":4000", server80, syn|fin), redirect, "midstream"),
			toPod("syn", tcp(l7Peer+":4000", server80, syn), redirect, ""),
			toPod("data", tcp(l7Peer+":4000", server80, ack), redirect, ""),
			fromPod("the server beside the proxy", tcp(server80, l7Peer+":4000", ack), drop, "midstream"),
			toPod("a datagram", udp("10.0.1.77:4000", server80), redirect, ""),
			toPod("sctp cannot be", udp("10.0.1.77:4000", server80).with(func(f *frame) { f.proto = unix.IPPROTO_SCTP }), drop, "unsupported"),
		}},
		{"no proxy, no redirected traffic", []step{
			toPod("syn", tcp(l7Peer+":4000", server80, syn), redirect, ""),
			toPod("data", tcp(l7Peer+":4000", server80, ack), drop, "no-proxy").after(func(r *runner) { r.setProxy(0) }),
			toPod("syn", tcp(l7Peer+":4001", server80, syn), redirect, "no-proxy"),
			toPod("L4 needs none", tcp(l4Peer+":4000", server80, syn), next, ""),
		}},
		{"egress", []step{
			fromPod("redirected", tcp(client+":4000", l7Peer+port80, syn), redirect, ""),
			fromPod("and on", tcp(client+":4000", l7Peer+port80, ack), redirect, ""),
			fromPod("allowed", tcp(client+":4000", l4Peer+port80, syn), next, ""),
			toPod("its reply", tcp(l4Peer+port80, client+":4000", syn|ack), next, ""),
			fromPod("denied", tcp(client+":4000", outside+port80, syn), drop, "policy"),
			toPod("ingress is not policed", tcp(outside+":4000", client+":22", syn), next, ""),
			fromPod("replies to that", tcp(client+":22", outside+":4000", syn|ack), next, ""),
			fromPod("dns", udp(client+":4000", outside+":53"), next, ""),
			toPod("answer", udp(outside+":53", client+":4000"), next, ""),
		}},
		{"the pod's own node", []step{
			toPod("made here", tcp(node+":4000", server80, syn), next, "").fromHost(),
			fromPod("reply", tcp(server80, node+":4000", syn|ack), next, ""),
			toPod("received: translated or forged", tcp(node+":4001", server80, syn), drop, "policy"),
			toPod("received: world's port", tcp(node+":4001", server4+":8080", syn), next, ""),
			toPod("made here, but not from a node address", tcp(denyPeer+":4001", server80, syn), drop, "policy").fromHost(),
			fromPod("there is no exemption on egress", tcp(client+":4000", node+port80, syn), drop, "policy"),
		}},
		{"a pod to itself through a service", []step{
			{name: "back into the interface it came from", hook: policy.Ingress, data: tcp(node+":4001", server80, syn).bytes(), ctx: skbContext{IngressIfindex: lo}, want: next},
		}},
		{"spoofed sources", []step{
			fromPod("another's", tcp("10.0.0.9:4000", l4Peer+port80, syn), drop, "spoofed"),
			fromPod("a node's", udp(node+":4000", outside+":53"), drop, "spoofed"),
			fromPod("another's IPv6", tcp("[fd00::9]:4000", "["+l4Peer6+"]:80", syn), drop, "spoofed"),
			fromPod("fragment", udp("10.0.0.9:4000", outside+":53").with(later), drop, "spoofed"),
		}},
		{"addresses that the pod does not have", []step{
			toPod("unicast", tcp(l4Peer+":4000", "10.0.0.99:80", syn), drop, "foreign"),
			toPod("multicast", udp(l4Peer+":4000", "224.0.0.1:53"), drop, "foreign"),
		}},
		{"marks", []step{
			{name: "the proxy's", hook: policy.Ingress, data: tcp(denyPeer+":4000", server80, syn).bytes(), want: next},
			{name: "another", hook: policy.Ingress, data: tcp(denyPeer+":4000", server80, syn).bytes(), ctx: skbContext{Mark: 0x70770000}, want: drop, reason: "policy"},
			{name: "one of a leg", hook: policy.Egress, data: tcp(client+":4000", outside+port80, syn).bytes(), ctx: skbContext{Mark: 4}, want: drop, reason: "policy"},
		}},
		{"other EtherTypes", []step{
			{name: "arp", hook: policy.Ingress, data: ethernet(0x0806), want: next},
			{name: "arp from pod", hook: policy.Egress, data: ethernet(0x0806), want: next},
			{name: "vlan", hook: policy.Ingress, data: ethernet(0x8100), want: drop, reason: "ethertype"},
			{name: "ppp", hook: policy.Ingress, data: ethernet(0x8864), want: drop, reason: "ethertype"},
			{name: "the direction is not policed", hook: policy.Egress, data: ethernet(0x8864), want: next},
		}},
		{"fragments", []step{
			toPod("later of nothing", udp(l4Peer+":4000", server4+":53").with(otherLater), drop, "fragment"),
			toPod("first", udp(l4Peer+":4000", server4+":53").with(withMore), next, ""),
			toPod("later", udp(l4Peer+":4000", server4+":53").with(later), next, ""),
			toPod("later of another", udp(l4Peer+":4000", server4+":53").with(otherLater), drop, "fragment"),
			toPod("first that is denied", udp(l4Peer+":4000", server4+":54").with(func(f *frame) { f.frag, f.id = 0x2000, 9 }), drop, "policy"),
			toPod("its later", udp(l4Peer+":4000", server4+":54").with(func(f *frame) { f.frag, f.id = 0x0004, 9 }), drop, "fragment"),
			toPod("first that is redirected", tcp(l7Peer+":4000", server80, syn).with(func(f *frame) { f.frag, f.id = 0x2000, 10 }), redirect, ""),
			toPod("its later", tcp(l7Peer+":4000", server80, syn).with(func(f *frame) { f.frag, f.id = 0x0004, 10 }), redirect, ""),
			fromPod("not policed", udp(server4+":4000", outside+":53").with(otherLater), next, ""),
		}},
		{"IPv4 options", []step{
			toPod("allowed", tcp(l4Peer+":4000", server80, syn).with(func(f *frame) { f.options = make([]byte, 12) }), next, ""),
			toPod("redirected", tcp(l7Peer+":4000", server80, syn).with(func(f *frame) { f.options = make([]byte, 40) }), redirect, ""),
			toPod("denied", tcp(denyPeer+":4000", server80, syn).with(func(f *frame) { f.options = make([]byte, 4) }), drop, "policy"),
		}},
		{"IPv6", []step{
			toPod("allowed", tcp("["+l4Peer6+"]:4000", "["+server6+"]:80", syn), next, ""),
			fromPod("reply", tcp("["+server6+"]:80", "["+l4Peer6+"]:4000", syn|ack), next, ""),
			toPod("redirected", tcp("["+l7Peer6+"]:4000", "["+server6+"]:80", syn), redirect, ""),
			toPod("world", tcp("[2001:db8::1]:4000", "["+server6+"]:8080", syn), next, ""),
			toPod("denied", tcp("[2001:db8::1]:4000", "["+server6+"]:80", syn), drop, "policy"),
			toPod("mapped source takes no IPv4 identity", tcp("[::ffff:"+l4Peer+"]:4000", "["+server6+"]:80", syn), drop, "malformed"),
		}},
		{"IPv6 extension headers", []step{
			toPod("hop by hop", tcp("["+l4Peer6+"]:4000", "["+server6+"]:80", syn).with(extension(0, 6, 0)), next, ""),
			toPod("then denied", tcp("[2001:db8::1]:4000", "["+server6+"]:80", syn).with(extension(60, 6, 0)), drop, "policy"),
			toPod("routing to elsewhere", tcp("["+l4Peer6+"]:4000", "["+server6+"]:80", syn).with(extension(43, 6, 1)), drop, "malformed"),
			toPod("later fragment", udp("["+l4Peer6+"]:4000", "["+server6+"]:53").with(fragment6(0x0008)), drop, "fragment"),
			toPod("first fragment", udp("["+l4Peer6+"]:4000", "["+server6+"]:53").with(fragment6(0x0001)), next, ""),
			toPod("later fragment", udp("["+l4Peer6+"]:4000", "["+server6+"]:53").with(fragment6(0x0008)), next, ""),
			toPod("too many", tcp("["+l4Peer6+"]:4000", "["+server6+"]:80", syn).with(func(f *frame) {
				f.ext, f.options = 60, append(append(make([]byte, 0, 64), nested(60, 7)...), 6, 0, 0, 0, 0, 0, 0, 0)
			}), drop, "malformed"),
		}},
		{"IPv6 neighbour discovery", []step{
			toPod("solicitation", icmp("fe80::1", "ff02::1:ff00:3", 135, 0), next, ""),
			fromPod("advertisement", icmp("fe80::3", "ff02::1", 136, 0), next, ""),
			toPod("that was forwarded is none", icmp("2001:db8::1", server6, 135, 0).with(func(f *frame) { f.hops = 64 }), drop, "policy"),
		}},
		{"ICMP echo", []step{
			toPod("request", icmp(outside, server4, 8, 5), next, ""),
			fromPod("reply", icmp(server4, outside, 0, 5), next, ""),
			toPod("another type", icmp(outside, server4, 13, 5), drop, "policy"),
			toPod("reply to nothing", icmp(outside, server4, 0, 6), drop, "policy"),
			fromPod("request of the pod's own", icmp(server4, outside, 8, 7), next, ""),
			toPod("its reply", icmp(outside, server4, 0, 7), next, ""),
			toPod("IPv6", icmp("2001:db8::1", server6, 128, 5), next, ""),
		}},
		{"ICMP errors", []step{
			toPod("about nothing", icmp(outside, server4, 3, 0).about(tcp(server4+":4000", outside+":443", syn)), drop, "policy"),
			fromPod("connection", tcp(server4+":4000", outside+":443", syn), next, ""),
			toPod("about it", icmp(outside, server4, 3, 0).about(tcp(server4+":4000", outside+":443", syn)), next, ""),
			toPod("about another's", icmp(outside, server4, 3, 0).about(tcp("10.0.0.77:4000", outside+":443", syn)), drop, "policy"),
			toPod("proxied", tcp(l7Peer+":4000", server80, syn), redirect, ""),
			toPod("about it, for the proxy", icmp(outside, server4, 3, 4).about(tcp(server80, l7Peer+":4000", ack)), redirect, ""),
		}},
		{"SCTP has ports", []step{
			toPod("allowed", tcp(l4Peer+":4000", server80, 0).with(func(f *frame) { f.proto = unix.IPPROTO_SCTP }), next, ""),
			toPod("denied", tcp(l4Peer+":4000", server4+":81", 0).with(func(f *frame) { f.proto = unix.IPPROTO_SCTP }), drop, "policy"),
		}},
		{"malformed", []step{
			toPod("header length", tcp(l4Peer+":4000", server80, syn).with(func(f *frame) { f.options = nil; f.version = 0x44 }), drop, "malformed"),
			toPod("version", tcp(l4Peer+":4000", server80, syn).with(func(f *frame) { f.version = 0x55 }), drop, "malformed"),
			{name: "short TCP", hook: policy.Ingress, data: tcp(l4Peer+":4000", server80, syn).bytes()[:40], want: drop, reason: "malformed"},
		}},
		{"a server's packet opens no way around the proxy", []step{
			fromPod("of a forgotten connection", tcp(server80, l7Peer+":4000", ack), next, ""),
			toPod("the client's answer", tcp(l7Peer+":4000", server80, ack), redirect, "midstream"),
		}},
		{"audit lets go on", []step{
			toPod("denied", tcp(denyPeer+":4000", audited+":80", syn), next, ""),
			fromPod("reply", tcp(audited+":80", denyPeer+":4000", syn|ack), next, ""),
			toPod("no proxy", tcp(l7Peer+":4000", audited+":80", syn), next, "").after(func(r *runner) { r.setProxy(0) }),
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			r.apply(testState())
			if err := r.SetHostAddrs([]netip.Addr{addr(node)}); err != nil {
				t.Fatal(err)
			}
			if test.name == "marks" {
				var n septumNodeConfig
				if err := r.objs.Config.Lookup(uint32(0), &n); err != nil {
					t.Fatal(err)
				}
				test.steps[0].ctx.Mark = n.Mark
			}
			r.t = t
			r.steps(test.steps)
		})
	}
}

func extension(ext, next, segmentsLeft uint8) func(*frame) {
	return func(f *frame) { f.ext, f.options = ext, []byte{next, 0, 0, segmentsLeft, 0, 0, 0, 0} }
}

func fragment6(offset uint16) func(*frame) {
	return func(f *frame) {
		f.ext, f.options = 44, []byte{f.proto, 0, byte(offset >> 8), byte(offset), 0, 0, 0, 7}
	}
}

// nested is n extension headers of one type.
func nested(ext uint8, n int) []byte {
	var b []byte
	for range n {
		b = append(b, ext, 0, 0, 0, 0, 0, 0, 0)
	}
	return b
}
