package proxyns

import (
	"net"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

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
	got := setup(t, host, proxy, Config{})

	h, p := host.Link(HostName).Attrs(), proxy.Link(ProxyName).Attrs()
	if got.HostIfindex != h.Index || got.ProxyIfindex != p.Index ||
		got.HostMAC.String() != h.HardwareAddr.String() || got.ProxyMAC.String() != p.HardwareAddr.String() || got.Cookie == 0 {
		t.Errorf("link is %+v, interfaces are %+v and %+v", got, h, p)
	}
	for path, want := range map[string]string{
		"ipv4/conf/all/rp_filter": "0", "ipv4/conf/l7p1/rp_filter": "0",
		"ipv4/ip_local_port_range": "10240\t32767", "ipv4/fwmark_reflect": "1",
	} {
		if v := read(proxy, path); v != want {
			t.Errorf("net/%s in the proxy's namespace is %q, want %q", path, v, want)
		}
	}
	if v := read(host, "ipv4/ip_local_port_range"); v == "10240\t32767" {
		t.Error("the node's own port range was changed")
	}
	own, foreign := net.IPv4(10, 244, 1, 7), net.IPv4(10, 244, 1, 2)
	for _, c := range []struct {
		name string
		src  net.IP
		mark int
		want string
	}{
		{"marked, own source", own, 1, ProxyName},
		{"marked, pod's source", foreign, 2, ProxyName},
		{"marked, no source", nil, 4, ProxyName},
		{"unmarked, own source", own, 0, "eth0"},
		{"unmarked, no source", nil, 0, "eth0"},
		{"unmarked, pod's source", foreign, 0, ProxyName},
		{"another mark, own source", own, 7, "eth0"},
	} {
		if dev := out(t, proxy, c.src, c.mark); dev != c.want {
			t.Errorf("%s: leaves by %q, want %q", c.name, dev, c.want)
		}
	}
	neighbours, err := proxy.Netlink.NeighList(got.ProxyIfindex, 2)
	if err != nil || len(neighbours) != 1 || neighbours[0].HardwareAddr.String() != h.HardwareAddr.String() {
		t.Errorf("neighbours of %s: %v, %v", ProxyName, neighbours, err)
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
	if h, p := host.Link(HostName).Attrs().MTU, proxy.Link(ProxyName).Attrs().MTU; h != 9000 || p != 9000 {
		t.Errorf("MTUs are %d and %d", h, p)
	}
}

// The next proxy pod takes over; what the last one left does not stand in its way.
func TestSetupOfAnotherProxy(t *testing.T) {
	dir := t.TempDir()
	host, old, proxy := nstest.New(t, dir, "node"), nstest.New(t, dir, "old"), nstest.New(t, dir, "proxy")
	before := setup(t, host, old, Config{})
	after := setup(t, host, proxy, Config{})
	if before.Cookie == after.Cookie || before.HostIfindex == after.HostIfindex {
		t.Errorf("the old link %+v, the new %+v", before, after)
	}
	if _, err := old.Netlink.LinkByName(ProxyName); err == nil {
		t.Errorf("%s is still in the old namespace", ProxyName)
	}
	proxy.Link(ProxyName)
	host.Do(Remove)
	if _, err := host.Netlink.LinkByName(HostName); err == nil {
		t.Errorf("%s is still on the node after Remove", HostName)
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
