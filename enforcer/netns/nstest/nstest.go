// Package nstest makes network namespaces for tests. It needs root.
package nstest

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
)

// NS is a namespace, bound to a file as container runtimes do it.
type NS struct {
	Path string
	File *os.File
	// Netlink is a handle in the namespace.
	Netlink *netlink.Handle

	t *testing.T
}

// New makes a namespace with the file dir/name, in which lo is up. It is removed at the
// end of the test.
func New(t *testing.T, dir, name string) *NS {
	t.Helper()
	ns := &NS{Path: filepath.Join(dir, name), t: t}
	must(t, os.WriteFile(ns.Path, nil, 0o600))
	t.Cleanup(ns.Remove)
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespace; it stays locked and ends here.
		runtime.LockOSThread()
		done <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return unix.Mount("/proc/thread-self/ns/net", ns.Path, "", unix.MS_BIND, "")
		}()
	}()
	must(t, <-done)
	var err error
	ns.File, err = os.Open(ns.Path)
	must(t, err)
	ns.Netlink, err = netns.Handle(ns.File)
	must(t, err)
	// A neighbour is not asked for from an address that is still being checked for duplicates.
	ns.Do(func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0) })
	ns.Up("lo")
	return ns
}

// Remove ends the namespace, as a runtime does when a pod is gone.
func (ns *NS) Remove() {
	if ns.Path == "" {
		return
	}
	if ns.File != nil {
		ns.File.Close()
	}
	if ns.Netlink != nil {
		ns.Netlink.Close()
	}
	unix.Unmount(ns.Path, unix.MNT_DETACH) //nolint:errcheck // it may not be mounted yet
	if err := os.Remove(ns.Path); err != nil {
		ns.t.Errorf("remove namespace: %v", err)
	}
	ns.Path = ""
}

// Do runs fn in the namespace.
func (ns *NS) Do(fn func() error) {
	ns.t.Helper()
	must(ns.t, netns.Do(ns.File, fn))
}

// Veth makes a veth between ns (name) and peer (peerName), both up.
func (ns *NS) Veth(name string, peer *NS, peerName string) {
	ns.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerNamespace = peerName, netlink.NsFd(int(peer.File.Fd()))
	must(ns.t, ns.Netlink.LinkAdd(v))
	ns.Up(name)
	peer.Up(peerName)
}

// Link returns an interface of the namespace.
func (ns *NS) Link(name string) netlink.Link {
	ns.t.Helper()
	l, err := ns.Netlink.LinkByName(name)
	must(ns.t, err)
	return l
}

// Up sets an interface up.
func (ns *NS) Up(name string) {
	ns.t.Helper()
	must(ns.t, ns.Netlink.LinkSetUp(ns.Link(name)))
}

// Addr gives an interface an address in CIDR form.
func (ns *NS) Addr(name, cidr string) {
	ns.t.Helper()
	addr, err := netlink.ParseAddr(cidr)
	must(ns.t, err)
	must(ns.t, ns.Netlink.AddrAdd(ns.Link(name), addr))
}

// Route adds a route; dst is a CIDR or "default", via may be "".
func (ns *NS) Route(dst, via, name string) {
	ns.t.Helper()
	r := &netlink.Route{LinkIndex: ns.Link(name).Attrs().Index}
	if dst == "default" {
		dst = "0.0.0.0/0"
	}
	_, prefix, err := net.ParseCIDR(dst)
	must(ns.t, err)
	r.Dst = prefix
	if via != "" {
		r.Gw = net.ParseIP(via)
	} else {
		r.Scope = netlink.SCOPE_LINK
	}
	must(ns.t, ns.Netlink.RouteAdd(r))
}

// Pod makes a namespace that is joined to node as the ptp plugin does it: node has
// gateway on its side, and a route to the pod's address.
func Pod(node *NS, dir, name, addr, gateway string) *NS {
	node.t.Helper()
	pod := New(node.t, dir, name)
	veth := "veth-" + name
	node.Veth(veth, pod, "eth0")
	node.Addr(veth, gateway+"/32")
	node.Route(addr+"/32", "", veth)
	pod.Addr("eth0", addr+"/32")
	pod.Route(gateway+"/32", "", "eth0")
	pod.Route("default", gateway, "eth0")
	return pod
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
