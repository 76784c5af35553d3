package bpf

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Nothing passes an interface that is shut, of whatever kind, until the policy goes.
func TestShut(t *testing.T) {
	l := newLab(t, routed, true, false)
	b := l.pods["b"]
	second := netip.MustParseAddr("10.88.0.2")
	kinds := map[string]func() bool{
		"veth": func() bool {
			veth(l.namespace, "multus0", b.namespace, "net1")
			l.addr("multus0", "10.88.0.1/24")
			return true
		},
		"macvlan": func() bool { return l.overUplink(b, &netlink.Macvlan{Mode: netlink.MACVLAN_MODE_BRIDGE}) },
		"ipvlan":  func() bool { return l.overUplink(b, &netlink.IPVlan{Mode: netlink.IPVLAN_MODE_L2}) },
	}
	for kind, add := range kinds {
		t.Run(kind, func(t *testing.T) {
			if !add() {
				t.Skipf("this kernel has no %s", kind)
			}
			defer func() { must(t, b.LinkDel(b.namespace.link("net1"))) }()
			b.up("net1")
			b.addr("net1", second.String()+"/24")
			var st unix.Stat_t
			must(t, unix.Fstat(int(b.Fd()), &st))
			shut := []PodInterface{{Key: "test/b", NetNS: b.Name(), Inode: st.Ino, Ifindex: b.namespace.link("net1").Attrs().Index}}
			host := &testPod{namespace: l.namespace, name: "node"}
			reach := func() error {
				return dialOnly(host, net.Dialer{Timeout: 300 * time.Millisecond}, netip.AddrPortFrom(second, servedPort+1))
			}
			if err := reach(); err != nil {
				t.Fatalf("before it is shut: %v", err)
			}
			l.inNode(func() error { return l.Shut(shut, true) })
			if err := reach(); err == nil {
				t.Error("a connection to the pod when it is shut")
			}
			if err := dialOnly(b, net.Dialer{Timeout: 300 * time.Millisecond}, netip.MustParseAddrPort("10.88.0.1:81")); errors.Is(err, unix.ECONNREFUSED) {
				t.Error("the pod got an answer when it is shut")
			}
			must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort))) // the first interface is as it was
			must(t, l.Close())
			l.Datapath = open(l.t, l.config)
			if err := reach(); err == nil {
				t.Error("a connection to the pod when the process was away")
			}
			l.inNode(func() error { return l.Shut(nil, false) })
			if err := reach(); err == nil {
				t.Error("a connection to the pod while not all pods are found")
			}
			l.inNode(func() error { return errors.Join(l.Shut(shut, true), l.Shut(shut, true), l.Shut(nil, true)) })
			for deadline := time.Now().Add(5 * time.Second); reach() != nil; {
				if time.Now().After(deadline) {
					t.Fatal("it did not open again")
				}
			}
		})
	}
}

// overUplink gives a pod net1 on top of an interface of the node, which is reached over
// another on top of the same.
func (l *lab) overUplink(p *testPod, over netlink.Link) bool {
	l.t.Helper()
	if old, err := l.LinkByName("uplink0"); err == nil {
		must(l.t, l.LinkDel(old))
	}
	if old, err := l.LinkByName("multus0"); err == nil {
		must(l.t, l.LinkDel(old))
	}
	uplink := netlink.NewVeth(netlink.LinkAttrs{Name: "uplink0"})
	uplink.PeerName = "uplink1"
	must(l.t, l.LinkAdd(uplink))
	l.up("uplink0")
	l.up("uplink1")
	for _, name := range []string{"multus0", "net1"} {
		over.Attrs().Name, over.Attrs().ParentIndex = name, l.link("uplink0").Attrs().Index
		over.Attrs().TxQLen, over.Attrs().Index = -1, 0
		err := l.LinkAdd(over)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return false
		}
		must(l.t, err)
	}
	l.addr("multus0", "10.88.0.1/24")
	l.up("multus0")
	must(l.t, l.LinkSetNsFd(l.link("net1"), int(p.Fd())))
	return true
}
