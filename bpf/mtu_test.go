package bpf

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// narrow makes the node's routes to a pod take smaller packets than the pods send, as a tunnel
// on the way does: who sends larger ones is told so by ICMP.
func (node *testNode) narrow(p *testPod, mtu int) {
	node.t.Helper()
	for _, ip := range p.link.Addrs {
		node.ok(node.RouteReplace(&netlink.Route{LinkIndex: p.link.Ifindex, Scope: netlink.SCOPE_LINK, MTU: mtu, MTULock: true,
			Dst: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}))
	}
}

// tooBig counts what the node has said of packets that it could not forward.
func (node *testNode) tooBig() (ipv4, ipv6 int) {
	node.t.Helper()
	node.do(func() error {
		old, err := os.ReadFile("/proc/thread-self/net/snmp")
		if err != nil {
			return err
		}
		text, err := os.ReadFile("/proc/thread-self/net/snmp6")
		if err != nil {
			return err
		}
		_, values, _ := strings.Cut(string(old), "\nIcmp: ")
		names, values, _ := strings.Cut(values, "\nIcmp: ")
		at := slices.Index(strings.Fields(names), "OutDestUnreachs")
		if ipv4, err = strconv.Atoi(strings.Fields(values)[at]); err != nil {
			return err
		}
		_, value, _ := strings.Cut(string(text), "Icmp6OutPktTooBigs")
		ipv6, err = strconv.Atoi(strings.Fields(value)[0])
		return err
	})
	return ipv4, ipv6
}

// The proxy's sockets learn the way's MTU as the pods' own would: what a router says to a pod
// of a proxied connection is the proxy's to hear. Without it, bulk data would stall.
func TestPathMTU(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<18/16)
	for _, test := range []struct {
		name            string
		ingress, egress bool
		narrow          string
	}{
		{"no policy, to the client", false, false, "a"},
		{"ingress, to the client", true, false, "a"},
		{"egress, to the server", false, true, "b"},
		{"both on one node, to the client", true, true, "a"},
		{"both on one node, to the server", true, true, "b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, test.ingress, test.egress)
			l.narrow(l.pods[test.narrow], 1300)
			for _, to := range []netip.AddrPort{l.at(servedPort), l.at6(servedPort)} {
				c, _, err := l.pods["a"].dial(net.Dialer{Timeout: 10 * time.Second}, to)
				must(t, err)
				defer c.Close()
				go func() {
					c.Write(data) // what is missing shows below
					c.CloseWrite()
				}()
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%v: %d bytes of %d came back: %v", to, len(got), len(data), err)
				}
			}
			if n4, n6 := l.tooBig(); n4 == 0 || n6 == 0 {
				t.Errorf("the node has said of %d IPv4 and %d IPv6 packets that they are too big: the test shows nothing", n4, n6)
			}
		})
	}
}
