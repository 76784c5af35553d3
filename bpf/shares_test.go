package bpf

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// served waits until the proxy has so many connections, as the programs count those of
// clients and those of classes.
func (l *lab) served(want uint32) {
	l.t.Helper()
	var clients, classes uint32
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		shares, err := readMap[septumShareKey, uint32](l.objs.Shares)
		must(l.t, err)
		clients, classes = 0, 0
		for k, n := range shares {
			if k.ClassPort == 0 {
				clients += n
			} else {
				classes += n
			}
		}
		if clients == want && classes == want && (want != 0 || len(shares) == 0) {
			return
		}
	}
	l.t.Fatalf("%d connections of clients and %d of classes are counted, want %d", clients, classes, want)
}

// A client that has as many connections with the proxy as it may is refused more, at each end
// for itself; others are not, and what it closes it may open again.
func TestClientLimit(t *testing.T) {
	const limit = 5
	for name, ends := range map[string]struct{ ingress, egress bool }{
		"ingress": {ingress: true}, "egress": {egress: true}, "both on one node": {ingress: true, egress: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, routed, ends.ingress, ends.egress)
			must(t, l.SetShares(Shares{Client: limit}))
			each := uint32(1) // sockets that a connection has with the proxy
			if ends.ingress && ends.egress {
				each = 2
			}
			dial := func(to netip.AddrPort) (*net.TCPConn, error) {
				c, _, err := l.pods["a"].dial(net.Dialer{}, to)
				return c, err
			}
			var open []*net.TCPConn
			for i := range limit {
				c, err := dial(l.at(servedPort))
				if err != nil {
					t.Fatalf("connection %d: %v", i, err)
				}
				defer c.Close()
				open = append(open, c)
			}
			l.served(limit * each)
			for range 3 {
				if _, err := dial(l.at(servedPort)); !errors.Is(err, unix.ECONNREFUSED) {
					t.Errorf("one more: %v, want a refusal", err)
				}
			}
			if _, drops, err := l.Counters(); err != nil || drops["client-limit"] < 3 {
				t.Errorf("%d counted as dropped, %v", drops["client-limit"], err)
			}
			must(t, l.pods["a"].visit(net.Dialer{}, l.at6(servedPort))) // another address has a share of its own
			if !ends.egress {
				must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort+1))) // and what needs no proxy needs no share
			}
			for _, c := range open {
				must(t, echo(c, "still there"))
			}
			l.served(limit * each)
			open[0].SetLinger(0)
			open[0].Close()
			open[1].Close()
			l.served((limit - 2) * each)
			for range 20 {
				must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
				l.served((limit - 2) * each)
			}
			l.proxy.vanish()
			l.served(0)
		})
	}
}

// The count is right whatever comes and goes at once, and 0 is no limit.
func TestClientsCounted(t *testing.T) {
	l := newLab(t, bridged, true, true)
	failed := parallel(600, func(i int) error {
		to := l.at(servedPort)
		if i%2 == 1 {
			to = l.at6(servedPort)
		}
		return l.pods["a"].visit(net.Dialer{}, to)
	})
	if len(failed) > 0 {
		t.Errorf("%d failed: %.300q", len(failed), failed)
	}
	l.served(0)
}

// Who was a client of a proxy that is gone is none of the next one's.
func TestClientsOfAnotherProxy(t *testing.T) {
	l := newLab(t, routed, true, false)
	must(t, l.SetShares(Shares{Client: 1}))
	c, _, err := l.pods["a"].dial(net.Dialer{}, l.at(servedPort))
	must(t, err)
	defer c.Close()
	l.served(1)
	must(t, l.DetachProxy())
	l.served(0)
	l.inNode(func() error { return l.AttachProxy(l.proxyLink()) })
	must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
}

// A class that has as many connections as it may gets no more, whoever its clients are; other
// classes do.
func TestClassLimit(t *testing.T) {
	l := newLab(t, routed, true, false)
	must(t, l.SetShares(Shares{Client: 3, Class: 4}))
	s := labState(l.testNode, true, false)
	other := s.Tables[0]
	other.Port, other.Class = servedPort+1, egressClass
	s.Tables[1] = other
	l.proxy.close(egressClass)
	for _, host := range []string{"127.0.0.1", "::1"} {
		l.proxy.listen(host, egressClass, 1, 2, &l.proxy.egress)
	}
	must(t, l.Apply(s))
	var open []*net.TCPConn
	for i, to := range []netip.AddrPort{l.at(servedPort), l.at(servedPort), l.at6(servedPort), l.at6(servedPort)} {
		c, _, err := l.pods["a"].dial(net.Dialer{}, to)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		open = append(open, c)
	}
	for _, to := range []netip.AddrPort{l.at(servedPort), l.at6(servedPort)} {
		if _, _, err := l.pods["a"].dial(net.Dialer{}, to); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("one more to %v: %v, want a refusal", to, err)
		}
	}
	if _, drops, err := l.Counters(); err != nil || drops["class-limit"] != 2 {
		t.Errorf("%d counted as dropped, %v", drops["class-limit"], err)
	}
	must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort+1)))
	open[0].Close()
	l.served(3)
	must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
}
