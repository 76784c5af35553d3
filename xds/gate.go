package xds

import (
	"net"
	"net/netip"
	"sync"
)

// unprovenPerAddress is how many connections one address may have at once that have not
// shown a certificate. Whoever reaches the port can open connections, and each costs memory
// until it is found to be nobody's.
const unprovenPerAddress = 64

// gate is a listener that closes what is too much of one address.
type gate struct {
	net.Listener
	limit int

	mu       sync.Mutex
	unproven map[netip.Addr]int
}

func newGate(listener net.Listener, limit int) *gate {
	return &gate{Listener: listener, limit: limit, unproven: map[netip.Addr]int{}}
}

// Accept returns the next connection that is not too much.
func (g *gate) Accept() (net.Conn, error) {
	for {
		conn, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		addr := connAddr(conn)
		if !g.enter(addr) {
			conn.Close()
			continue
		}
		return &gatedConn{Conn: conn, leave: sync.OnceFunc(func() { g.leave(addr) })}, nil
	}
}

func (g *gate) enter(addr netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unproven[addr] >= g.limit {
		return false
	}
	g.unproven[addr]++
	return true
}

func (g *gate) leave(addr netip.Addr) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.unproven[addr]--; g.unproven[addr] <= 0 {
		delete(g.unproven, addr)
	}
}

// gatedConn counts until it has shown a certificate, or is closed.
type gatedConn struct {
	net.Conn
	leave func()
}

func (c *gatedConn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// proven says that a connection has shown a certificate.
func proven(conn net.Conn) {
	if c, ok := conn.(*gatedConn); ok {
		c.leave()
	}
}

func connAddr(conn net.Conn) netip.Addr {
	addr, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr().Unmap()
}
