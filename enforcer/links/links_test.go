package links

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

// node is a node's namespace (outside dir) and a Finder that looks into dir from it.
func node(t *testing.T) (host *nstest.NS, dir string, f *Finder) {
	t.Helper()
	dir = t.TempDir()
	host = nstest.New(t, t.TempDir(), "sept-g-node")
	host.Do(func() (err error) {
		f, err = NewFinder(dir)
		return err
	})
	t.Cleanup(f.Close)
	return host, dir, f
}

func addrs(s string) []netip.Addr { return []netip.Addr{netip.MustParseAddr(s)} }

func scan(t *testing.T, f *Finder) {
	t.Helper()
	if err := f.Scan(false); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	host, dir, f := node(t)
	a := nstest.Pod(host, dir, "a", "10.244.1.2", "10.244.1.1")
	nstest.Pod(host, dir, "b", "10.244.1.3", "10.244.1.1")
	scan(t, f)
	got, err := f.Find(addrs("10.244.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	hostSide, podSide := host.Link("veth-a").Attrs(), a.Link("eth0").Attrs()
	if got.Ifindex != hostSide.Index || got.HostMAC.String() != hostSide.HardwareAddr.String() ||
		got.PodIfindex != podSide.Index || got.PodMAC.String() != podSide.HardwareAddr.String() || got.MTU != 1500 {
		t.Errorf("link of a: %+v, want the node's %+v and the pod's %+v", got, hostSide, podSide)
	}
	if got.Bridged {
		t.Error("the link of a says that it is bridged")
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	if err := host.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	if err := host.Netlink.LinkSetMaster(host.Link("veth-a"), host.Link("br0")); err != nil {
		t.Fatal(err)
	}
	scan(t, f)
	if got, err := f.Find(addrs("10.244.1.2")); err != nil || !got.Bridged {
		t.Errorf("on a bridge: %+v, %v", got, err)
	}
	if _, err := f.Find(addrs("10.244.1.9")); !errors.Is(err, ErrNotFound) {
		t.Errorf("address of no pod: %v, want %v", err, ErrNotFound)
	}
}

func TestFindOnlyVethsOfTheNode(t *testing.T) {
	host, dir, f := node(t)
	// An interface of another kind.
	bridge := nstest.New(t, dir, "bridge")
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "eth0"
	if err := bridge.Netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		t.Fatal(err)
	}
	bridge.Addr("eth0", "10.244.1.2/32")
	// A veth between two namespaces that are not the node's, whose indexes are those of
	// a veth that is the node's.
	nstest.Pod(host, dir, "real", "10.244.1.3", "10.244.1.1")
	other, inner := nstest.New(t, t.TempDir(), "other"), nstest.New(t, dir, "inner")
	other.Veth("x", inner, "eth0")
	inner.Addr("eth0", "10.244.1.4/32")
	// An empty namespace, and a file that is none.
	nstest.New(t, dir, "empty")
	scan(t, f)
	for _, addr := range []string{"10.244.1.2", "10.244.1.4"} {
		if l, err := f.Find(addrs(addr)); !errors.Is(err, ErrNoVeth) {
			t.Errorf("%s: %+v, %v, want %v", addr, l, err, ErrNoVeth)
		}
	}
	if _, err := f.Find(addrs("10.244.1.3")); err != nil {
		t.Errorf("the node's own veth: %v", err)
	}
}

// An address that is given to another pod leads to the new pod, whether the old
// namespace vanished or only lost its interface.
func TestAddressUsedAgain(t *testing.T) {
	host, dir, f := node(t)
	old := nstest.Pod(host, dir, "old", "10.244.1.2", "10.244.1.1")
	scan(t, f)
	before, err := f.Find(addrs("10.244.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	if err := host.Netlink.LinkDel(host.Link("veth-old")); err != nil {
		t.Fatal(err)
	}
	scan(t, f)
	if l, err := f.Find(addrs("10.244.1.2")); !errors.Is(err, ErrNotFound) {
		t.Fatalf("after the interface went: %+v, %v", l, err)
	}
	nstest.Pod(host, dir, "new", "10.244.1.2", "10.244.1.1")
	scan(t, f)
	after, err := f.Find(addrs("10.244.1.2"))
	if err != nil {
		t.Fatal(err)
	}
	if after.Ifindex == before.Ifindex || after.Ifindex != host.Link("veth-new").Attrs().Index {
		t.Errorf("link is %+v, want the new pod's", after)
	}
	old.Remove()
	scan(t, f)
	if again, err := f.Find(addrs("10.244.1.2")); err != nil || again.Ifindex != after.Ifindex {
		t.Errorf("after the old namespace went: %+v, %v", again, err)
	}
}

func TestScanSeesAddressesThatComeLater(t *testing.T) {
	host, dir, f := node(t)
	pod := nstest.New(t, dir, "slow")
	scan(t, f)
	host.Veth("veth-slow", pod, "eth0")
	scan(t, f)
	if _, err := f.Find(addrs("10.244.1.5")); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before the address: %v", err)
	}
	pod.Addr("eth0", "10.244.1.5/32")
	scan(t, f)
	if _, err := f.Find(addrs("10.244.1.5")); err != nil {
		t.Fatalf("after the address: %v", err)
	}
}

func TestWatch(t *testing.T) {
	host, dir, f := node(t)
	ctx, cancel := context.WithCancel(context.Background())
	changed, done := make(chan struct{}, 1), make(chan error, 1)
	go host.Do(func() error {
		done <- Watch(ctx, changed, dir, dir+"/none")
		return nil
	})
	// The watch begins at some time; changes are made until one is seen.
	deadline := time.After(5 * time.Second)
	for i := 0; ; i++ {
		host.Addr("lo", netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}).String()+"/32")
		select {
		case <-changed:
		case <-time.After(50 * time.Millisecond):
			continue
		case <-deadline:
			t.Fatal("a new address was not seen")
		}
		break
	}
	drain(changed)
	nstest.New(t, dir, "late")
	select {
	case <-changed:
	case <-time.After(5 * time.Second):
		t.Error("a new namespace was not seen")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	got, err := f.HostAddrs()
	if err != nil || len(got) == 0 || got[0] != netip.MustParseAddr("192.0.2.0") {
		t.Errorf("the node's addresses: %v, %v", got, err)
	}
}

func drain(c <-chan struct{}) {
	for {
		select {
		case <-c:
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}
