package links

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/enforcer/proxyns"
)

// put puts an interface into a pod; false says that this kernel does not have the kind.
func put(t *testing.T, host, pod *nstest.NS, l netlink.Link, name string) bool {
	t.Helper()
	err := host.Netlink.LinkAdd(l)
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Logf("this kernel has no %s", l.Type())
		return false
	}
	if err != nil {
		t.Fatalf("add %s: %v", l.Type(), err)
	}
	made := host.Link(l.Attrs().Name)
	if err := host.Netlink.LinkSetNsFd(made, int(pod.File.Fd())); err != nil {
		t.Fatalf("move %s: %v", l.Type(), err)
	}
	if err := pod.Netlink.LinkSetName(pod.Link(l.Attrs().Name), name); err != nil {
		t.Fatal(err)
	}
	return true
}

func attrs(name string, parent int) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.ParentIndex = name, parent
	return a
}

// What leads out of a pod past its first interface is found, whatever it is, and what the pod
// has made for itself is not.
func TestWays(t *testing.T) {
	host, dir, f := node(t)
	pod := nstest.Pod(host, dir, "a", "10.244.1.2", "10.244.1.1")
	nstest.Pod(host, dir, "b", "10.244.1.3", "10.244.1.1")
	ways := func(addr string) []string {
		t.Helper()
		scan(t, f)
		var out []string
		for _, w := range f.Ways([]netip.Addr{netip.MustParseAddr(addr)}) {
			out = append(out, fmt.Sprint(w))
		}
		slices.Sort(out)
		return out
	}
	if got := ways("10.244.1.2"); len(got) != 0 {
		t.Errorf("a pod with one interface: %q", got)
	}
	// The pod's own.
	inner := nstest.New(t, t.TempDir(), "inner")
	pod.Veth("docker1", inner, "eth0")
	for _, l := range []netlink.Link{&netlink.Dummy{LinkAttrs: attrs("dummy0", 0)}, &netlink.Bridge{LinkAttrs: attrs("docker0", 0)}} {
		if err := pod.Netlink.LinkAdd(l); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
			t.Fatal(err)
		}
	}
	if got := ways("10.244.1.2"); len(got) != 0 {
		t.Errorf("a pod with interfaces of its own making: %q", got)
	}
	// Those of others.
	host.Veth("multus0", pod, "net1")
	want := []string{"net1 (veth)"}
	uplink := netlink.NewVeth(attrs("uplink0", 0))
	uplink.PeerName = "uplink1"
	if err := host.Netlink.LinkAdd(uplink); err != nil {
		t.Fatal(err)
	}
	parent := host.Link("uplink0").Attrs().Index
	for name, l := range map[string]netlink.Link{
		"net2": &netlink.Macvlan{LinkAttrs: attrs("mv0", parent), Mode: netlink.MACVLAN_MODE_BRIDGE},
		"net3": &netlink.Vlan{LinkAttrs: attrs("vl0", parent), VlanId: 7},
		"net4": &netlink.Netkit{LinkAttrs: attrs("nk0", 0), Mode: netlink.NETKIT_MODE_L2},
	} {
		if put(t, host, pod, l, name) {
			want = append(want, fmt.Sprintf("%s (%s)", name, l.Type()))
		}
	}
	// One interface has either macvlans or ipvlans.
	parent = host.Link("uplink1").Attrs().Index
	if put(t, host, pod, &netlink.IPVlan{LinkAttrs: attrs("iv0", parent), Mode: netlink.IPVLAN_MODE_L2}, "net5") {
		want = append(want, "net5 (ipvlan)")
	}
	slices.Sort(want)
	if got := ways("10.244.1.2"); !slices.Equal(got, want) {
		t.Errorf("ways out: %q, want %q", got, want)
	}
	// A pod whose only interface cannot be enforced.
	only := nstest.New(t, dir, "only")
	if put(t, host, only, &netlink.IPVlan{LinkAttrs: attrs("iv1", parent), Mode: netlink.IPVLAN_MODE_L2}, "eth0") {
		only.Addr("eth0", "10.244.1.4/32")
		if got := ways("10.244.1.4"); !slices.Equal(got, []string{"eth0 (ipvlan)"}) {
			t.Errorf("a pod on an ipvlan: %q", got)
		}
		if _, err := f.Find(addrs("10.244.1.4")); !errors.Is(err, ErrNoVeth) {
			t.Errorf("a pod on an ipvlan: %v", err)
		}
	}
	proxy := nstest.Pod(host, dir, "proxy", "10.244.1.9", "10.244.1.1")
	host.Veth(proxyns.HostName(1), proxy, "l7p1-1")
	if got := ways("10.244.1.9"); len(got) != 0 {
		t.Errorf("the proxy's pod: %q", got)
	}
	if got := ways("10.244.1.3"); len(got) != 0 {
		t.Errorf("another pod: %q", got)
	}
}
