package proxyns

import (
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

func setup(t *testing.T, host, proxy *nstest.NS, cfg Config) Link {
	t.Helper()
	var l Link
	host.Do(func() (err error) {
		l, err = Setup(proxy.File, cfg)
		return err
	})
	return l
}

// read returns a sysctl's value in the namespace.
func read(ns *nstest.NS, path string) string {
	var value []byte
	ns.Do(func() (err error) {
		value, err = os.ReadFile("/proc/sys/net/" + path)
		return err
	})
	return strings.TrimSpace(string(value))
}

// out returns the interface that a packet from src (nil: no source yet) with the mark leaves by.
func out(t *testing.T, ns *nstest.NS, src net.IP, mark int) string {
	t.Helper()
	var name string
	ns.Do(func() error {
		index, err := outgoing(src, mark)
		if err != nil {
			return err
		}
		i, err := net.InterfaceByIndex(index)
		if err == nil {
			name = i.Name
		}
		return err
	})
	return name
}

func TestSetup(t *testing.T) {
	dir := t.TempDir()
	host, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "proxy")
	host.Veth("cni", proxy, "eth0")
	proxy.Addr("eth0", "10.244.1.7/24")
	proxy.Route("default", "10.244.1.1", "eth0")
	gateway := &netlink.Neigh{LinkIndex: proxy.Link("eth0").Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: net.IPv4(10, 244, 1, 1), HardwareAddr: host.Link("cni").Attrs().HardwareAddr}
	if err := proxy.Netlink.NeighSet(gateway); err != nil {
		t.Fatal(err)
	}
	ipv6On(t, host, proxy)
	got := setup(t, host, proxy, Config{})

	for leg := 1; leg <= Legs; leg++ {
		h, p := host.Link(HostName(leg)).Attrs(), proxy.Link(ProxyName(leg)).Attrs()
		if got.HostIfindexes[leg-1] != h.Index || got.ProxyIfindexes[leg-1] != p.Index ||
			got.HostMAC.String() != h.HardwareAddr.String() || got.ProxyMAC.String() != p.HardwareAddr.String() || got.Cookie == 0 {
			t.Errorf("link is %+v, interfaces of leg %d are %+v and %+v", got, leg, h, p)
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			neighbours, err := proxy.Netlink.NeighList(p.Index, family)
			permanent := slices.DeleteFunc(neighbours, func(n netlink.Neigh) bool { return n.State != netlink.NUD_PERMANENT })
			if err != nil || len(permanent) != 1 || permanent[0].HardwareAddr.String() != h.HardwareAddr.String() {
				t.Errorf("neighbours of %s: %v, %v", p.Name, neighbours, err)
			}
		}
	}
	for path, want := range map[string]string{
		"ipv4/conf/all/rp_filter": "0", "ipv4/conf/l7p1-1/rp_filter": "0", "ipv4/conf/l7p1-4/rp_filter": "0",
		"ipv4/ip_local_port_range": "10240\t32767", "ipv4/fwmark_reflect": "1",
		"ipv6/conf/l7p1-3/disable_ipv6": "0", "ipv6/fwmark_reflect": "1",
	} {
		if v := read(proxy, path); v != want {
			t.Errorf("net/%s in the proxy's namespace is %q, want %q", path, v, want)
		}
	}
	if v := read(host, "ipv4/ip_local_port_range"); v == "10240\t32767" {
		t.Error("the node's own port range was changed")
	}
	own, foreign := net.IPv4(10, 244, 1, 7), net.IPv4(10, 244, 1, 2)
	own6, foreign6 := net.ParseIP("fd00:244:1::7"), net.ParseIP("fd00:244:1::2")
	for _, c := range []struct {
		name string
		src  net.IP
		mark int
		want string
	}{
		{"marked, own source", own, 1, ProxyName(1)},
		{"marked, pod's source", foreign, 2, ProxyName(2)},
		{"marked, no source", nil, 4, ProxyName(4)},
		{"unmarked, own source", own, 0, "eth0"},
		{"unmarked, no source", nil, 0, "eth0"},
		{"unmarked, pod's source", foreign, 0, ProxyName(1)},
		{"another mark, own source", own, 7, "eth0"},
		{"IPv6, marked, own source", own6, 1, ProxyName(1)},
		{"IPv6, marked, pod's source", foreign6, 4, ProxyName(4)},
		{"IPv6, unmarked, own source", own6, 0, "eth0"},
		{"IPv6, unmarked, pod's source", foreign6, 0, ProxyName(1)},
	} {
		if dev := out(t, proxy, c.src, c.mark); dev != c.want {
			t.Errorf("%s: leaves by %q, want %q", c.name, dev, c.want)
		}
	}
}

// ipv6On gives the proxy's pod an IPv6 address, and new interfaces none, as some CNIs do.
func ipv6On(t *testing.T, host, proxy *nstest.NS) {
	t.Helper()
	eth0 := proxy.Link("eth0")
	own, err := netlink.ParseAddr("fd00:244:1::7/64")
	if err != nil {
		t.Fatal(err)
	}
	own.Flags = unix.IFA_F_NODAD
	if err := proxy.Netlink.AddrAdd(eth0, own); err != nil {
		t.Fatal(err)
	}
	proxy.Route("::/0", "fd00:244:1::1", "eth0")
	err = proxy.Netlink.NeighSet(&netlink.Neigh{LinkIndex: eth0.Attrs().Index, State: netlink.NUD_PERMANENT, Family: unix.AF_INET6,
		IP: net.ParseIP("fd00:244:1::1"), HardwareAddr: host.Link("cni").Attrs().HardwareAddr})
	if err != nil {
		t.Fatal(err)
	}
	proxy.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0) })
}

// Sockets that are bound to a veth find the one that is made in its place.
func TestVethMadeAgain(t *testing.T) {
	dir := t.TempDir()
	host, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "proxy")
	before := setup(t, host, proxy, Config{})
	if err := host.Netlink.LinkDel(host.Link(HostName(2))); err != nil {
		t.Fatal(err)
	}
	after := setup(t, host, proxy, Config{})
	if before.ProxyIfindexes != after.ProxyIfindexes || before.HostMAC.String() != after.HostMAC.String() {
		t.Errorf("the old link %+v, the new %+v", before, after)
	}
	if before.HostIfindexes[0] != after.HostIfindexes[0] || before.HostIfindexes[1] == after.HostIfindexes[1] {
		t.Errorf("the old link %+v, the new %+v", before, after)
	}
}

// A second set-up of the same namespace changes nothing.
func TestSetupAgain(t *testing.T) {
	dir := t.TempDir()
	host, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "proxy")
	first := setup(t, host, proxy, Config{})
	rules, err := proxy.Netlink.RuleList(2)
	if err != nil {
		t.Fatal(err)
	}
	second := setup(t, host, proxy, Config{MTU: 9000})
	if !reflect.DeepEqual(first, second) {
		t.Errorf("first %+v, then %+v", first, second)
	}
	if again, err := proxy.Netlink.RuleList(2); err != nil || len(again) != len(rules) {
		t.Errorf("rules: %v, then %v, %v", rules, again, err)
	}
	if h, p := host.Link(HostName(3)).Attrs().MTU, proxy.Link(ProxyName(3)).Attrs().MTU; h != 9000 || p != 9000 {
		t.Errorf("MTUs are %d and %d", h, p)
	}
}

// The MTU goes down only where it is to fit the pods'.
func TestMTU(t *testing.T) {
	dir := t.TempDir()
	host, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "proxy")
	for _, step := range []struct {
		cfg  Config
		want int
	}{{Config{}, 1500}, {Config{MTU: 1400}, 1500}, {Config{MTU: 1400, Fit: true}, 1400}, {Config{MTU: 9000}, 9000}, {Config{}, 9000}} {
		setup(t, host, proxy, step.cfg)
		for leg := 1; leg <= Legs; leg++ {
			if h, p := host.Link(HostName(leg)).Attrs().MTU, proxy.Link(ProxyName(leg)).Attrs().MTU; h != step.want || p != step.want {
				t.Errorf("%+v: MTUs of leg %d are %d and %d, want %d", step.cfg, leg, h, p, step.want)
			}
		}
	}
}

// The next proxy pod takes over; what the last one left does not stand in its way.
func TestSetupOfAnotherProxy(t *testing.T) {
	dir := t.TempDir()
	host, old, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "old"), nstest.New(t, dir, "proxy")
	before := setup(t, host, old, Config{})
	after := setup(t, host, proxy, Config{})
	if before.Cookie == after.Cookie || before.HostIfindexes[0] == after.HostIfindexes[0] {
		t.Errorf("the old link %+v, the new %+v", before, after)
	}
	if _, err := old.Netlink.LinkByName(ProxyName(1)); err == nil {
		t.Errorf("%s is still in the old namespace", ProxyName(1))
	}
	proxy.Link(ProxyName(1))
	host.Do(Remove)
	if _, err := host.Netlink.LinkByName(HostName(1)); err == nil {
		t.Errorf("%s is still on the node after Remove", HostName(1))
	}
	host.Do(Remove) // nothing to remove is no error
}

// In a container that is not privileged /proc/sys cannot be written.
func TestSysctlWithoutProc(t *testing.T) {
	ns := nstest.New(t, t.TempDir(), "proxy")
	ns.Do(func() error { return sysctl{path: "ipv4/fwmark_reflect", value: "1"}.applyDetached() })
	if v := read(ns, "ipv4/fwmark_reflect"); v != "1" {
		t.Errorf("fwmark_reflect is %q", v)
	}
}
