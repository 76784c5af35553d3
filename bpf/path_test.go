package bpf

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

func TestProxiedConnections(t *testing.T) {
	const connections = 200
	tests := []struct {
		name            string
		network         network
		ingress, egress bool
	}{
		{"ingress", routed, true, false},
		{"egress", routed, false, true},
		{"both on one node", routed, true, true},
		{"ingress", bridged, true, false},
		{"egress", bridged, false, true},
		{"both on one node", bridged, true, true},
	}
	for _, test := range tests {
		t.Run(string(test.network)+" "+test.name, func(t *testing.T) {
			l := newLab(t, test.network, test.ingress, test.egress)
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
			if test.ingress {
				err := l.pods["c"].visit(net.Dialer{Timeout: 300 * time.Millisecond}, l.at(servedPort))
				if !isTimeout(err) {
					t.Errorf("a peer that is denied: %v", err)
				}
			}
		})
	}
}

func TestBulk(t *testing.T) {
	l := newLab(t, routed, true, true)
	c, _, err := l.pods["a"].dial(net.Dialer{Timeout: 60 * time.Second}, l.at(servedPort))
	must(t, err)
	defer c.Close()
	data := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
	const rounds = 16
	go func() {
		for range rounds {
			c.Write(data)
		}
		c.CloseWrite()
	}()
	got := make([]byte, len(data))
	for i := range rounds {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatalf("after %d MiB: %v", 4*i, err)
		}
		if !bytes.Equal(got, data) {
			t.Fatalf("the bytes of round %d are not those sent", i)
		}
	}
}

// A client whose connection the proxy has no more is reset when it goes on with it.
func TestConnectionsThatTheProxyLost(t *testing.T) {
	for _, test := range []struct {
		name            string
		ingress, egress bool
	}{{"ingress", true, false}, {"egress", false, true}, {"both on one node", true, true}} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, test.ingress, test.egress)
			for _, at := range []netip.AddrPort{l.at(servedPort), l.at6(servedPort)} {
				c, _, err := l.pods["a"].dial(net.Dialer{}, at)
				must(t, err)
				defer c.Close()
				l.proxy.vanish()
				if _, err := io.WriteString(c, "hello?"); err != nil {
					t.Errorf("writing to %v: %v", at, err)
				}
				if _, err := io.Copy(io.Discard, c); !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("reading from %v: %v, want a reset", at, err)
				}
			}
		})
	}
}

func TestWithoutProxy(t *testing.T) {
	l := newLab(t, routed, true, false)
	l.proxy.close(ingressClass)
	if err := l.pods["a"].visit(net.Dialer{}, l.at(servedPort)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a class without a listener: %v", err)
	}
	if err := l.pods["a"].visit(net.Dialer{}, l.at6(servedPort)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a class without a listener, IPv6: %v", err)
	}
	if err := l.pods["a"].visit(net.Dialer{}, l.at(servedPort+1)); err != nil {
		t.Errorf("what needs no proxy: %v", err)
	}
	must(t, l.DetachProxy())
	if err := l.pods["a"].visit(net.Dialer{}, l.at(servedPort)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("no proxy: %v", err)
	}
}

// A pod cannot give its packets the mark of the proxy's frames.
func TestForgedMark(t *testing.T) {
	l := newLab(t, routed, true, false)
	var n septumNodeConfig
	must(t, l.objs.Config.Lookup(uint32(0), &n))
	mark := func(_, _ string, c syscall.RawConn) (err error) {
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, int(n.Mark)) })
		return err
	}
	err := l.pods["c"].visit(net.Dialer{Timeout: 300 * time.Millisecond, Control: mark}, l.at(servedPort))
	if !isTimeout(err) {
		t.Errorf("a peer that is denied: %v", err)
	}
	// The node itself can, where the pod's side does not see more than the mark: that this passes
	// shows that the mark is the right one.
	host := &testPod{namespace: l.namespace, name: "node"}
	must(t, l.SetHostAddrs(nil))
	if err := host.visit(net.Dialer{Timeout: 300 * time.Millisecond}, l.at(servedPort)); !isTimeout(err) {
		t.Errorf("an address that is not known to be the node's: %v", err)
	}
	if err := dialOnly(host, net.Dialer{Timeout: 300 * time.Millisecond, Control: mark}, l.at(servedPort)); !isTimeout(err) {
		t.Errorf("the node with the mark: %v", err)
	}
	l.withoutPodSide("b")
	if err := dialOnly(host, net.Dialer{Timeout: time.Second, Control: mark}, l.at(servedPort)); isTimeout(err) {
		t.Errorf("the node with the mark: %v", err)
	}
}

func dialOnly(p *testPod, d net.Dialer, to netip.AddrPort) error {
	return inNetNS(p.File, func() error {
		c, err := d.Dial("tcp", to.String())
		if err == nil {
			c.Close()
		}
		return err
	})
}

func TestNodeReachesItsPods(t *testing.T) {
	for _, n := range []network{routed, bridged} {
		t.Run(string(n), func(t *testing.T) {
			l := newLab(t, n, true, false)
			host := &testPod{namespace: l.namespace, name: "node"}
			must(t, host.visit(net.Dialer{}, l.at(servedPort)))
			must(t, host.visit(net.Dialer{}, l.at6(servedPort+1)))
		})
	}
}

// A new policy ends what it denies, and what a proxy would have to judge from the beginning.
func TestPolicyChange(t *testing.T) {
	tests := []struct {
		name    string
		verdict policy.Verdict
		lives   bool
	}{
		{"denied", policy.Denied, false},
		{"redirected", policy.Redirected, false},
		{"still forwarded", policy.Forwarded, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, true, false)
			c, _, err := l.pods["a"].dial(net.Dialer{}, l.at(servedPort+1))
			must(t, err)
			defer c.Close()
			must(t, echo(c, "before"))
			s := labState(l.testNode, true, false)
			s.Tables[1].Verdict, s.Tables[1].Rule = test.verdict, 77
			if test.verdict == policy.Redirected {
				s.Tables[1].Class = ingressClass
			}
			must(t, l.Apply(s))
			// Nobody sweeps here: the programs leave a second for it before they answer.
			c.SetDeadline(time.Now().Add(10 * time.Second))
			err = echo(c, "after")
			if test.lives && err != nil {
				t.Errorf("connection: %v", err)
			}
			if !test.lives && !errors.Is(err, unix.ECONNRESET) {
				t.Errorf("connection was not reset: %v", err)
			}
		})
	}
}

// The process that loaded everything can go and come back without a packet being lost.
func TestRestart(t *testing.T) {
	l := newLab(t, routed, true, false)
	long, _, err := l.pods["a"].dial(net.Dialer{Timeout: time.Minute}, l.at(servedPort))
	must(t, err)
	defer long.Close()
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(failed)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := l.pods["a"].visit(net.Dialer{Timeout: 10 * time.Second}, l.at(servedPort)); err != nil {
				failed <- err
				return
			}
		}
	}()
	for range 5 {
		must(t, l.Close())
		must(t, echo(long, "while it is away"))
		l.Datapath = open(t, l.config)
		l.inNode(func() error {
			return errors.Join(l.AttachPod(l.pods["b"].link), l.AttachProxy(l.proxyLink()))
		})
		if got, err := l.Attached(); err != nil || len(got) != 1 || got[0] != l.pods["b"].link.Ifindex {
			t.Errorf("attached: %v, %v", got, err)
		}
		must(t, l.Apply(labState(l.testNode, true, false)))
		must(t, echo(long, "when it is back"))
	}
	if got, err := l.Listeners(); err != nil || len(got) != 2 {
		t.Errorf("listeners: %v, %v", got, err)
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("a connection failed: %v", err)
	}
	if n := l.proxy.ingress.Load(); n < 10 {
		t.Errorf("only %d connections were made meanwhile", n)
	}
}

// When all is removed, traffic is as if it had never been there.
func TestRemove(t *testing.T) {
	l := newLab(t, routed, true, false)
	must(t, l.Close())
	must(t, Remove(l.config))
	must(t, l.pods["c"].visit(net.Dialer{}, l.at(servedPort)))
	if _, err := os.Stat(l.config.PinPath); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s was left behind: %v", l.config.PinPath, err)
	}
}

// A pod that comes under policy keeps the connections that it has begun, and not those that
// others have.
func TestAdopt(t *testing.T) {
	l := newLab(t, routed, false, false)
	l.pods["c"].serve(servedPort)
	b := l.pods["b"]
	out, _, err := b.dial(net.Dialer{}, netip.AddrPortFrom(l.pods["c"].ip4, servedPort))
	must(t, err)
	defer out.Close()
	out6, _, err := b.dial(net.Dialer{}, netip.AddrPortFrom(l.pods["c"].ip6, servedPort))
	must(t, err)
	defer out6.Close()
	in, _, err := l.pods["c"].dial(net.Dialer{}, l.at(servedPort+1))
	must(t, err)
	defer in.Close()

	must(t, l.Apply(labState(l.testNode, true, false)))
	l.attach("b")
	in.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if err := echo(in, "hello"); !isTimeout(err) {
		t.Errorf("a connection to the pod: %v", err)
	}
	out.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if err := echo(out, "hello"); !isTimeout(err) {
		t.Errorf("a connection from the pod, which nobody has adopted: %v", err)
	}
	must(t, l.Adopt(b.link, b.File))
	out.SetDeadline(time.Now().Add(5 * time.Second))
	got := make([]byte, 5)
	if _, err := io.ReadFull(out, got); err != nil {
		t.Errorf("a connection from the pod: %v", err)
	}
	if err := echo(out6, "hello"); err != nil {
		t.Errorf("a connection from the pod, IPv6: %v", err)
	}
	in.SetDeadline(time.Now().Add(300 * time.Millisecond))
	if _, err := io.ReadFull(in, got); !isTimeout(err) {
		t.Errorf("a connection to the pod: %v", err)
	}
}
