package bpf

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// lab is a node with real pods and the data path attached: b is policed on ingress, and a on
// egress where a test wants it.
type lab struct {
	*testNode
	*Datapath
	config Config
	proxy  *testProxy
}

const (
	idA = 1001
	idB = 1002
	idC = 1003
)

// labState redirects a's connections to b's port 80, on the sides that are asked for.
func labState(node *testNode, ingress, egress bool) State {
	var s State
	for i, name := range []string{"a", "b", "c"} {
		for _, ip := range node.pods[name].link.Addrs {
			s.Addresses = append(s.Addresses, AddressEntry{Prefix: netip.PrefixFrom(ip, ip.BitLen()), Identity: uint32(idA + i)})
			e := EndpointEntry{Addr: ip, Number: uint32(i + 1)}
			if name == "b" && ingress {
				e.Ingress = 1
			}
			if name == "a" && egress {
				e.Egress = 2
			}
			if e.Ingress+e.Egress != 0 {
				s.Endpoints = append(s.Endpoints, e)
			}
		}
	}
	s.Tables = []TableEntry{
		{Table: 1, Identity: idA, Protocol: unix.IPPROTO_TCP, Port: servedPort, PrefixLen: 16, Verdict: policy.Redirected, Class: ingressClass, Rule: 1},
		{Table: 1, Identity: idA, Protocol: unix.IPPROTO_TCP, Port: servedPort + 1, PrefixLen: 16, Verdict: policy.Forwarded, Rule: 2},
		{Table: 2, Identity: idB, Protocol: unix.IPPROTO_TCP, Port: servedPort, PrefixLen: 16, Verdict: policy.Redirected, Class: egressClass, Rule: 3},
	}
	return s
}

func newLab(t testing.TB, n network, ingress, egress bool) *lab {
	t.Helper()
	config := Config{PinPath: filepath.Join(bpffs(t), "septum"), CgroupRoot: ownCgroup(t)}
	l := &lab{testNode: newNode(t, n), config: config}
	l.pods["b"].serve(servedPort)
	l.pods["b"].serve(servedPort + 1)
	l.Datapath = open(t, config)
	t.Cleanup(func() { must(t, Remove(config)) })
	must(t, l.Apply(labState(l.testNode, ingress, egress)))
	must(t, l.SetHostAddrs(l.hosts))
	if ingress {
		l.attach("b")
	}
	if egress {
		l.attach("a")
	}
	l.inNode(func() error { return l.AttachProxy(l.proxyLink()) })
	l.proxy = startProxy(l.testNode.proxy)
	return l
}

func (l *lab) inNode(f func() error) { l.t.Helper(); l.do(f) }

func (l *lab) attach(pod string) {
	l.t.Helper()
	l.inNode(func() error { return l.AttachPod(l.pods[pod].link) })
}

func (l *lab) at(port uint16) netip.AddrPort  { return netip.AddrPortFrom(l.pods["b"].ip4, port) }
func (l *lab) at6(port uint16) netip.AddrPort { return netip.AddrPortFrom(l.pods["b"].ip6, port) }

// isTimeout says that nothing came back.
func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}
