package bpf

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The proxy's own connections to servers have ports from here.
const (
	proxyPortFirst = 10240
	proxyPortLast  = 32767
)

// from is a dialer from a port, which may have been used just now.
func from(port int) net.Dialer {
	return net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{Port: port}, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
	}}
}

// parallel calls f with 0 to n-1, a few at a time, and returns what went wrong.
func parallel(n int, f func(i int) error) (failed []string) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					mu.Lock()
					failed = append(failed, fmt.Sprintf("%d: %v", i, err))
					mu.Unlock()
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return failed
}

// Connections that are policed at both ends on one node have all their sockets in the proxy's
// namespace: two of a client's connections may not get into each other's way, though the proxy
// makes its own from the very ports that the client uses.
func TestOpenConnectionsFromTheProxysPorts(t *testing.T) {
	l := newLab(t, routed, true, true)
	const connections, step = 1000, 22
	open := make([]*net.TCPConn, connections)
	t.Cleanup(func() {
		for _, c := range open {
			if c != nil {
				c.Close()
			}
		}
	})
	for _, at := range []func(uint16) netip.AddrPort{l.at, l.at6} {
		failed := parallel(connections, func(i int) (err error) {
			open[i], _, err = l.pods["a"].dial(from(proxyPortFirst+i*step), at(servedPort))
			return err
		})
		if len(failed) > 0 {
			t.Fatalf("%d of %d connections to %v: %.500q", len(failed), connections, at(servedPort), failed)
		}
		for i, c := range open {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if err := echo(c, strconv.Itoa(i)); err != nil {
				t.Fatalf("connection %d to %v: %v", i, at(servedPort), err)
			}
			c.SetLinger(0)
			c.Close()
		}
	}
}

// Every port of the proxy's range is good for a client, and so are the others.
func TestEveryPort(t *testing.T) {
	l := newLab(t, routed, true, true)
	const ports = proxyPortLast + 1 - proxyPortFirst
	failed := parallel(ports, func(i int) error {
		c, _, err := l.pods["a"].dial(from(proxyPortFirst+i), l.at(servedPort))
		if err != nil {
			return err
		}
		c.SetLinger(0)
		return c.Close()
	})
	if len(failed) > 0 {
		t.Errorf("%d of %d ports failed: %.1000q", len(failed), ports, failed)
	}
}

// A client may use a port again whose old connection the proxy still has in TIME_WAIT, and
// ports of the proxy's own range that it has in TIME_WAIT itself.
func TestPortsUsedAgain(t *testing.T) {
	tests := []struct {
		name            string
		first, ports    int
		ingress, egress bool
	}{
		{"ingress", 40000, 8000, true, false},
		{"both on one node, of the proxy's range", proxyPortFirst, 2000, true, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, test.ingress, test.egress)
			for round := range 2 {
				failed := parallel(test.ports, func(i int) error {
					c, _, err := l.pods["a"].dial(from(test.first+i), l.at(servedPort))
					if err != nil {
						return err
					}
					defer c.Close()
					// The server closes first, and so does the proxy.
					if _, err := io.WriteString(c, hangUp); err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, c)
					return err
				})
				if len(failed) > 0 {
					t.Fatalf("round %d: %d of %d connections failed: %.1000q", round, len(failed), test.ports, failed)
				}
				var stat []byte
				l.testNode.proxy.do(func() (err error) {
					stat, err = os.ReadFile("/proc/thread-self/net/sockstat")
					return err
				})
				if n := timeWaits(string(stat)); n < test.ports {
					t.Errorf("%d sockets of the proxy are in TIME_WAIT: the test shows nothing", n)
				}
			}
		})
	}
}

// timeWaits reads "TCP: inuse 2 orphan 0 tw 20 …".
func timeWaits(sockstat string) int {
	_, rest, _ := strings.Cut(sockstat, " tw ")
	word, _, _ := strings.Cut(rest, " ")
	n, _ := strconv.Atoi(word)
	return n
}
