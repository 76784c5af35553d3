package bpf

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf/bpftest"
	"github.com/septum-dev/septum/policy"
)

// rawDatagram sends a frame from a pod with somebody's IPv4 address to its gateway.
func (p *testPod) rawDatagram(gateway net.HardwareAddr, from netip.Addr, to netip.AddrPort) error {
	f := udp(netip.AddrPortFrom(from, 4000).String(), to.String())
	data := f.bytes()
	copy(data, gateway)
	copy(data[6:], p.link.PodMAC)
	header, sum := data[14:34], uint32(0)
	for i := 0; i < len(header); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(header[i:]))
	}
	binary.BigEndian.PutUint16(header[10:], ^uint16(sum+sum>>16))
	return inNetNS(p.File, func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return unix.Sendto(fd, data, 0, &unix.SockaddrLinklayer{Ifindex: p.link.PodIfindex, Protocol: binary.NativeEndian.Uint16([]byte{8, 0})})
	})
}

// On a bridge, a pod that no policy selects sends in another pod's name by way of its gateway,
// so that the packet comes by the bridge and not by the pod's interface.
func TestGuard(t *testing.T) {
	l := newLab(t, bridged, true, false)
	a, b, c := l.pods["a"], l.pods["b"], l.pods["c"]
	s := labState(l.testNode, true, false)
	s.Tables = append(s.Tables, TableEntry{Table: 1, Identity: idA, Protocol: unix.IPPROTO_UDP, Port: 53, PrefixLen: 16, Verdict: policy.Forwarded})
	must(t, l.Apply(s))
	owners := map[int][]netip.Addr{}
	for _, p := range l.pods {
		owners[p.link.Ifindex] = p.link.Addrs
	}
	must(t, l.SetOwners(owners))
	tally, err := bpftest.NewTally(bpftest.Next, false)
	must(t, err)
	defer tally.Close()
	gateway := l.link("br0").Attrs().HardwareAddr
	// came says whether datagrams of c in from's name go on behind the programs of b.
	came := func(from netip.Addr) bool {
		t.Helper()
		var attached link.Link
		l.inNode(func() (err error) {
			attached, err = link.AttachTCX(link.TCXOptions{Interface: b.link.Ifindex, Program: tally.Program, Attach: ebpf.AttachTCXEgress, Anchor: link.Tail()})
			return err
		})
		defer attached.Close()
		before, err := tally.Count()
		must(t, err)
		const datagrams = 100
		for range datagrams {
			must(t, c.rawDatagram(gateway, from, netip.AddrPortFrom(b.ip4, 53)))
		}
		time.Sleep(50 * time.Millisecond)
		n, err := tally.Count()
		must(t, err)
		return n-before > datagrams/2 // a few are neighbours' questions
	}
	must(t, a.datagram(netip.AddrPortFrom(b.ip4, 53))) // they know each other
	if !came(a.ip4) {
		t.Fatal("without a guard the datagrams do not come: the test shows nothing")
	}
	guards := func(pods ...*testPod) {
		t.Helper()
		l.inNode(func() error {
			var list []int
			for _, p := range pods {
				list = append(list, p.link.Ifindex)
			}
			return l.Guard(list)
		})
	}
	guards(a, c)
	if came(a.ip4) {
		t.Error("datagrams in another pod's name came through")
	}
	// Nothing else is touched, and the guards outlive who set them.
	must(t, c.visit(net.Dialer{}, netip.AddrPortFrom(func() netip.Addr { a.serve(servedPort); return a.ip4 }(), servedPort)))
	must(t, c.visit(net.Dialer{}, netip.AddrPortFrom(a.ip6, servedPort)))
	must(t, l.Close())
	l.Datapath = open(t, l.config)
	if came(a.ip4) {
		t.Error("datagrams came through when the process was away")
	}
	guards(a, c)
	foreign, err := bpftest.NewTally(bpftest.Pass, false)
	must(t, err)
	defer foreign.Close()
	l.inNode(func() error {
		other, err := link.AttachTCX(link.TCXOptions{Interface: c.link.Ifindex, Program: foreign.Program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
		if err == nil {
			t.Cleanup(func() { other.Close() })
		}
		return err
	})
	guards(a, c) // puts itself first again
	if came(a.ip4) {
		t.Error("datagrams came through behind a foreign program")
	}
	guards()
	for deadline := time.Now().Add(5 * time.Second); !came(a.ip4); {
		if time.Now().After(deadline) {
			t.Fatal("the guard did not go")
		}
	}
}
