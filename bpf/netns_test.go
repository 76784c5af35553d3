package bpf

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace that lives as long as a test.
type namespace struct {
	*os.File
	*netlink.Handle
	t testing.TB
}

func newNamespace(t testing.TB, name string) *namespace {
	t.Helper()
	name = fmt.Sprintf("sept-b-%d-%s", os.Getpid(), name)
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		ns, err := netns.NewNamed(name)
		ns.Close()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("make namespace: %v", err)
	}
	t.Cleanup(func() {
		if err := netns.DeleteNamed(name); err != nil {
			t.Errorf("remove namespace: %v", err)
		}
	})
	f, err := os.Open(filepath.Join("/run/netns", name))
	if err != nil {
		t.Fatal(err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close(); f.Close() })
	ns := &namespace{f, h, t}
	// A neighbour is not asked for from an address that is still being checked for duplicates,
	// and on a busy machine that check can outlast a test's patience.
	ns.sysctl("ipv6/conf/default/accept_dad=0")
	ns.up("lo")
	return ns
}

func (ns *namespace) ok(err error) {
	ns.t.Helper()
	if err != nil {
		ns.t.Fatal(err)
	}
}

// do runs f in the namespace; f must not end the test itself, since it runs on a goroutine of its own.
func (ns *namespace) do(f func() error) {
	ns.t.Helper()
	ns.ok(inNetNS(ns.File, f))
}

func (ns *namespace) link(name string) netlink.Link {
	ns.t.Helper()
	l, err := ns.LinkByName(name)
	ns.ok(err)
	return l
}

func (ns *namespace) up(name string) { ns.t.Helper(); ns.ok(ns.LinkSetUp(ns.link(name))) }

func (ns *namespace) addr(name, cidr string) {
	ns.t.Helper()
	p := netip.MustParsePrefix(cidr)
	a := &netlink.Addr{IPNet: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
	ns.ok(ns.AddrAdd(ns.link(name), a))
}

// route adds a route to a prefix over a device, by way of a gateway if there is one.
func (ns *namespace) route(name, cidr, gateway string, table, flags int) {
	ns.t.Helper()
	p := netip.MustParsePrefix(cidr)
	r := &netlink.Route{LinkIndex: ns.link(name).Attrs().Index, Table: table, Flags: flags, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}}
	if gateway != "" {
		r.Gw, r.Scope = net.ParseIP(gateway), netlink.SCOPE_UNIVERSE
	}
	ns.ok(ns.RouteAdd(r))
}

func (ns *namespace) sysctl(values ...string) {
	ns.t.Helper()
	ns.do(func() error {
		for _, v := range values {
			name, value, _ := strings.Cut(v, "=")
			if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// veth joins two namespaces.
func veth(a *namespace, nameA string, b *namespace, nameB string) {
	a.t.Helper()
	a.ok(a.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: nameA, MTU: 1500},
		PeerName:      nameB,
		PeerNamespace: netlink.NsFd(b.Fd()),
	}))
	b.up(nameB)
	a.up(nameA)
}

// testPod is a pod's namespace and its interface.
type testPod struct {
	*namespace
	name     string
	ip4, ip6 netip.Addr
	link     PodLink
}

// testNode is a node's namespace with pods a, b and c, and a namespace for a proxy.
type testNode struct {
	*namespace
	pods  map[string]*testPod
	proxy *namespace
	hosts []netip.Addr
}

// network is how a CNI joins pods: routed over veths, or on a bridge.
type network string

const (
	routed  network = "routed"
	bridged network = "bridged"
)

func newNode(t testing.TB, n network) *testNode {
	t.Helper()
	node := &testNode{namespace: newNamespace(t, "node"), pods: map[string]*testPod{}, proxy: newNamespace(t, "proxy")}
	node.sysctl("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1")
	if n == bridged {
		node.ok(node.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0", HardwareAddr: net.HardwareAddr{2, 0xb, 0, 0, 0, 1}}}))
		node.addr("br0", "10.244.7.1/24")
		node.addr("br0", "fd07::1/64")
		node.up("br0")
	}
	node.hosts = []netip.Addr{addr("10.244.7.1"), addr("fd07::1")}
	for i, name := range []string{"a", "b", "c"} {
		node.addPod(n, name, i+2)
	}
	node.addProxy()
	return node
}

func (node *testNode) addPod(n network, name string, host int) {
	node.t.Helper()
	p := &testPod{namespace: newNamespace(node.t, "pod"+name), name: name,
		ip4: addr(fmt.Sprintf("10.244.7.%d", host)), ip6: addr(fmt.Sprintf("fd07::%d", host))}
	node.pods[name] = p
	side := "veth" + name
	veth(node.namespace, side, p.namespace, "eth0")
	hostMAC := node.link(side).Attrs().HardwareAddr
	if n == bridged {
		node.ok(node.LinkSetMaster(node.link(side), node.link("br0")))
		hostMAC = node.link("br0").Attrs().HardwareAddr
		p.addr("eth0", p.ip4.String()+"/24")
		p.addr("eth0", p.ip6.String()+"/64")
	} else {
		node.addr(side, "10.244.7.1/32")
		node.addr(side, "fd07::1/128")
		node.route(side, p.ip4.String()+"/32", "", 0, 0)
		node.route(side, p.ip6.String()+"/128", "", 0, 0)
		p.addr("eth0", p.ip4.String()+"/32")
		p.addr("eth0", p.ip6.String()+"/128")
		p.route("eth0", "10.244.7.1/32", "", 0, 0)
		p.route("eth0", "fd07::1/128", "", 0, 0)
	}
	p.route("eth0", "0.0.0.0/0", "10.244.7.1", 0, 0)
	p.route("eth0", "::/0", "fd07::1", 0, 0)
	p.link = PodLink{Key: "test/" + name, Ifindex: node.link(side).Attrs().Index, PodMAC: p.namespace.link("eth0").Attrs().HardwareAddr,
		HostMAC: hostMAC, Addrs: []netip.Addr{p.ip4, p.ip6}, NetNS: p.Name(), PodIfindex: p.namespace.link("eth0").Attrs().Index}
}

// addProxy makes the proxy's namespace as the enforcer does: what comes over its veths is
// local, and what is marked as a leg goes out by the leg's. Its eth0 leads nowhere.
func (node *testNode) addProxy() {
	p := node.proxy
	p.t.Helper()
	veth(node.namespace, "vethproxy", p, "eth0")
	p.addr("eth0", "10.99.99.2/32")
	p.route("eth0", "0.0.0.0/0", "", 0, 0)
	p.route("eth0", "::/0", "", 0, 0)
	p.sysctl("ipv4/conf/all/rp_filter=0", "ipv4/ip_local_port_range=10240 32767", "ipv4/fwmark_reflect=1", "ipv6/fwmark_reflect=1")
	lo := p.link("lo").Attrs().Index
	hostMAC, proxyMAC := net.HardwareAddr{2, 0x73, 0x65, 0x70, 0x74, 0xf0}, net.HardwareAddr{2, 0x73, 0x65, 0x70, 0x74, 0xf1}
	for leg := 1; leg <= Legs; leg++ {
		host, name := hostName(leg), proxyName(leg)
		veth(node.namespace, host, p, name)
		node.ok(node.LinkSetHardwareAddr(node.link(host), hostMAC))
		p.ok(p.LinkSetHardwareAddr(p.link(name), proxyMAC))
		p.addr(name, "169.254.7.2/32")
		p.addr(name, "fe80::7:2/128")
		p.sysctl("ipv4/conf/" + name + "/rp_filter=0")
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			every, gateway := "0.0.0.0/0", "169.254.7.1"
			if family == netlink.FAMILY_V6 {
				every, gateway = "::/0", "fe80::7:1"
			}
			p.ok(p.NeighAdd(&netlink.Neigh{LinkIndex: p.link(name).Attrs().Index, Family: family, State: netlink.NUD_PERMANENT,
				IP: net.ParseIP(gateway), HardwareAddr: hostMAC}))
			if leg == 1 {
				prefix := netip.MustParsePrefix(every)
				dst := &net.IPNet{IP: prefix.Addr().AsSlice(), Mask: net.CIDRMask(0, prefix.Addr().BitLen())}
				p.ok(p.RouteAdd(&netlink.Route{LinkIndex: lo, Table: 100, Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST, Dst: dst}))
			}
			p.route(name, every, gateway, 100+leg, int(netlink.FLAG_ONLINK))
			in, out := netlink.NewRule(), netlink.NewRule()
			in.Family, in.Priority, in.IifName, in.Table = family, 0, name, 100
			out.Family, out.Priority, out.Mark, out.Table = family, 1, uint32(leg), 100+leg
			p.ok(p.RuleAdd(in))
			p.ok(p.RuleAdd(out))
		}
	}
}

func hostName(leg int) string  { return fmt.Sprintf("l7p0-%d", leg) }
func proxyName(leg int) string { return fmt.Sprintf("l7p1-%d", leg) }

func (node *testNode) proxyLink() ProxyLink {
	l := ProxyLink{NetNS: node.proxy.File, HostMAC: node.link(hostName(1)).Attrs().HardwareAddr, ProxyMAC: node.proxy.link(proxyName(1)).Attrs().HardwareAddr}
	for i := range Legs {
		l.HostIfindexes[i] = node.link(hostName(i + 1)).Attrs().Index
		l.ProxyIfindexes[i] = node.proxy.link(proxyName(i + 1)).Attrs().Index
	}
	return l
}

// ownCgroup moves the test into a cgroup of its own, where sock_ops can be attached without
// meeting anything else.
func ownCgroup(t testing.TB) string {
	t.Helper()
	mount := ""
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" && mount == "" {
			mount = f[1]
		}
	}
	if mount == "" {
		t.Skip("no cgroup2 here")
	}
	before := mount
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(self)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			before = filepath.Join(mount, path)
		}
	}
	dir := filepath.Join(mount, fmt.Sprintf("sept-b-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	move := func(to string) error { return os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte("0"), 0) }
	t.Cleanup(func() {
		if err := move(before); err != nil {
			t.Errorf("leave cgroup: %v", err)
		}
		if err := os.Remove(dir); err != nil {
			t.Errorf("remove cgroup: %v", err)
		}
	})
	if err := move(dir); err != nil {
		t.Fatalf("enter cgroup: %v", err)
	}
	return dir
}
