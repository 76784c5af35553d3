package bpf

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf/bpftest"
)

// bypass has the lab's network pass packets from pod to pod by bpf_redirect_peer, behind our
// programs.
func (l *lab) bypass() {
	l.t.Helper()
	cni, err := bpftest.NewBypass()
	must(l.t, err)
	l.t.Cleanup(func() { cni.Close() })
	for _, p := range l.pods {
		for _, a := range p.link.Addrs {
			must(l.t, cni.Add(a, p.link.Ifindex, p.link.PodMAC, p.link.HostMAC))
		}
		l.inNode(func() error {
			link, err := link.AttachTCX(link.TCXOptions{Interface: p.link.Ifindex, Program: cni.Program, Attach: ebpf.AttachTCXIngress, Anchor: link.Tail()})
			if err == nil {
				l.t.Cleanup(func() { link.Close() })
			}
			return err
		})
	}
}

// Without the pod's side everything gets in.
func TestBypassIsReal(t *testing.T) {
	l := newLab(t, routed, false, false)
	l.bypass()
	must(t, l.Apply(labState(l.testNode, true, false)))
	l.pods["b"].link.NetNS = ""
	l.attach("b")
	must(t, l.pods["c"].visit(net.Dialer{}, l.at(servedPort)))
}

// sent counts the frames that a pod's interface on the node has sent to the pod.
func (l *lab) sent(pod string) uint64 {
	l.t.Helper()
	return l.link("veth" + pod).Attrs().Statistics.TxPackets
}

func TestBypassOfTheNodesSide(t *testing.T) {
	tests := []struct {
		name            string
		ingress, egress bool
	}{
		{"ingress", true, false},
		{"egress", false, true},
		{"both on one node", true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, test.ingress, test.egress)
			l.bypass()
			const connections = 50
			for i := range connections {
				to := l.at(servedPort)
				if i%4 == 3 {
					to = l.at6(servedPort)
				}
				if err := l.pods["a"].visit(net.Dialer{}, to); err != nil {
					t.Fatalf("connection %d to %v: %v", i, to, err)
				}
			}
			want := map[bool]int64{true: connections}
			if got := l.proxy.ingress.Load(); got != want[test.ingress] {
				t.Errorf("%d connections in the ingress class, want %d", got, want[test.ingress])
			}
			if got := l.proxy.egress.Load(); got != want[test.egress] {
				t.Errorf("%d connections in the egress class, want %d", got, want[test.egress])
			}
			rules, _, err := l.Counters()
			must(t, err)
			if got := rules[1].Redirected + rules[3].Redirected; got != uint64(want[test.ingress]+want[test.egress]) {
				t.Errorf("%d connections counted, want %d and %d", got, want[test.ingress], want[test.egress])
			}
			if !test.ingress || test.egress {
				return
			}
			before := l.sent("b")
			for range 20 {
				must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort+1)))
			}
			if n := l.sent("b") - before; n != 0 {
				t.Errorf("%d frames went by the node's side: the test shows nothing", n)
			}
			if rules, _, err = l.Counters(); err != nil || rules[2].Forwarded != 20 {
				t.Errorf("%d connections counted, want 20 (%v)", rules[2].Forwarded, err)
			}
			denied := net.Dialer{Timeout: 300 * time.Millisecond}
			for _, to := range []netip.AddrPort{l.at(servedPort), l.at(servedPort + 1), l.at6(servedPort), l.at6(servedPort + 1)} {
				if err := l.pods["c"].visit(denied, to); !isTimeout(err) {
					t.Errorf("a peer that is denied, to %v: %v", to, err)
				}
			}
			// The pod's own connections and their replies.
			l.pods["c"].serve(servedPort)
			must(t, l.pods["b"].visit(net.Dialer{}, netip.AddrPortFrom(l.pods["c"].ip4, servedPort)))
			must(t, l.pods["b"].visit(net.Dialer{}, netip.AddrPortFrom(l.pods["c"].ip6, servedPort)))
			// The node's own, which come by its side.
			host := &testPod{namespace: l.namespace, name: "node"}
			must(t, host.visit(net.Dialer{}, l.at(servedPort)))
			// What has nobody to judge it is refused, and told so.
			l.proxy.close(ingressClass)
			if err := l.pods["a"].visit(net.Dialer{}, l.at(servedPort)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("a class without a listener: %v", err)
			}
		})
	}
}

// The pod's side changes nothing where nothing goes around the node's: what has been judged
// there is neither judged nor counted again, nor given back.
func TestBothSidesCountOnce(t *testing.T) {
	for _, n := range []network{routed, bridged} {
		t.Run(string(n), func(t *testing.T) {
			l := newLab(t, n, true, true)
			givenBack := l.givenBack("b")
			for range 20 {
				must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
				must(t, l.pods["a"].visit(net.Dialer{}, l.at6(servedPort)))
				must(t, l.pods["c"].datagram(l.at(servedPort+9)))
			}
			host := &testPod{namespace: l.namespace, name: "node"}
			must(t, host.visit(net.Dialer{}, l.at(servedPort)))
			rules, _, err := l.Counters()
			must(t, err)
			// A busy machine may send a SYN again, which is counted again; both sides would make it 80.
			once := func(n uint64) bool { return n >= 40 && n <= 50 }
			if !once(rules[1].Redirected) || !once(rules[3].Redirected) || rules[0].Denied == 0 || rules[0].Denied > 20 {
				t.Errorf("counted %+v", rules)
			}
			if n := givenBack(); n != 0 {
				t.Errorf("%d frames were given back", n)
			}
		})
	}
}

// givenBack counts the frames that a pod's program gives back to the node.
func (l *lab) givenBack(pod string) func() uint64 {
	l.t.Helper()
	tally, err := bpftest.NewTally(bpftest.Next, true)
	must(l.t, err)
	l.t.Cleanup(func() { tally.Close() })
	p := l.pods[pod]
	p.do(func() error {
		attached, err := link.AttachTCX(link.TCXOptions{Interface: p.link.PodIfindex, Program: tally.Program, Attach: ebpf.AttachTCXEgress})
		if err == nil {
			l.t.Cleanup(func() { attached.Close() })
		}
		return err
	})
	return func() uint64 {
		n, err := tally.Count()
		must(l.t, err)
		return n
	}
}

// datagram sends one, and does not wait for an answer.
func (p *testPod) datagram(to netip.AddrPort) error {
	return inNetNS(p.File, func() error {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return err
	})
}

// withoutPodSide detaches the program at a pod's own interface, and waits until it is gone:
// a link ends some time after its pin.
func (l *lab) withoutPodSide(pod string) {
	l.t.Helper()
	p := l.pods[pod].link
	must(l.t, l.detachPodSide(p.Ifindex))
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		n := 0
		must(l.t, p.inside(func() error {
			attached, err := link.QueryPrograms(link.QueryOptions{Target: p.PodIfindex, Attach: ebpf.AttachTCXIngress})
			if err == nil {
				n = len(attached.Programs)
			}
			return err
		}))
		if n == 0 {
			return
		}
	}
	l.t.Fatal("the program did not go")
}
