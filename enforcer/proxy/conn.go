package proxy

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/septum-dev/septum/policy"
)

// Conn is one connection that the data path gave the proxy.
type Conn struct {
	// Client is the connection from the client.
	Client net.Conn
	// Src and Dst are the connection's own client and server.
	Src, Dst netip.AddrPort
	// Dial connects to Dst in the client's address.
	Dial func(ctx context.Context) (net.Conn, error)
	// Class returns the rules as they are now; they can differ with each call.
	Class func() *policy.Class
}

// dialTimeout is long, as the kernel's is: the client's own limit shall end a connect.
const dialTimeout = 60 * time.Second

// acceptPause is the wait after an accept that failed, as for want of descriptors.
const acceptPause = 50 * time.Millisecond

func newConn(client *net.TCPConn, up leg, class *atomic.Pointer[policy.Class]) (*Conn, error) {
	src, okSrc := addrPort(client.RemoteAddr())
	dst, okDst := addrPort(client.LocalAddr())
	if !okSrc || !okDst {
		return nil, fmt.Errorf("connection from %v to %v: no TCP addresses", client.RemoteAddr(), client.LocalAddr())
	}
	if err := client.SetKeepAliveConfig(keepalive()); err != nil {
		return nil, fmt.Errorf("set keep-alive: %w", err)
	}
	return &Conn{
		Client: client, Src: src, Dst: dst, Class: class.Load,
		Dial: func(ctx context.Context) (net.Conn, error) { return dial(ctx, up, src.Addr(), dst) },
	}, nil
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port()), true
}

// keepalive finds a dead peer in time: there are no idle timeouts that would.
func keepalive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 300 * time.Second, Interval: 75 * time.Second, Count: 9}
}

func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(acceptPause):
	}
}

// Reset closes a connection so that its peer sees a reset, and no orderly end.
func Reset(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		t.SetLinger(0) //nolint:errcheck // it may be closed already
	}
	c.Close()
}
