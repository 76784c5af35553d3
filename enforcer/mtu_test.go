package enforcer_test

import (
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/xds/septumpb"
)

// segment is the largest segment that a pod may send over a connection to the server.
func (n *node) segment(from string) (size int) {
	n.t.Helper()
	err := netns.Do(n.pods[from].File, func() error {
		c, err := net.DialTimeout("tcp4", server+":80", 10*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		raw, err := c.(*net.TCPConn).SyscallConn()
		if err != nil {
			return err
		}
		var got error
		if err := raw.Control(func(fd uintptr) { size, got = unix.GetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_MAXSEG) }); err != nil {
			return err
		}
		return got
	})
	must(n.t, err)
	return size
}

// Peers are offered the segment size that the pods' own kernels would offer, not the proxy's.
func TestSegmentSizeIsThePods(t *testing.T) {
	n := newNode(t)
	const mtu = 1400
	set := func(ns *nstest.NS, l netlink.Link) { must(t, ns.Netlink.LinkSetMTU(l, mtu)) }
	for _, name := range []string{"client", "server", "stranger"} {
		set(n.host, n.host.Link("veth-"+name))
	}
	for _, addr := range []string{client, server, stranger} {
		set(n.pods[addr], n.pods[addr].Link("eth0"))
	}
	direct := n.segment(remote) // its own interface takes more than the server's
	version := n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version && r.ProxyReady })
	n.becomes(remote, "GET", "/other", denied)
	for leg := 1; leg <= proxyns.Legs; leg++ {
		if got := n.host.Link(proxyns.HostName(leg)).Attrs().MTU; got != mtu {
			t.Errorf("the MTU of leg %d is %d, the pods' is %d", leg, got, mtu)
		}
	}
	if got := n.segment(remote); got != direct {
		t.Errorf("segments of %d bytes through the proxy, of %d without it", got, direct)
	}
}
