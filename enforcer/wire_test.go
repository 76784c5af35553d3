package enforcer_test

import (
	"net"
	"sync"
)

// wire is a listener whose connections can be cut off as by a network that is parted: nothing
// comes or goes, and nobody is told.
type wire struct {
	net.Listener

	mu sync.Mutex
	// whole is closed while everything passes.
	whole chan struct{}
}

func newWire(lis net.Listener) *wire {
	w := &wire{Listener: lis, whole: make(chan struct{})}
	close(w.whole)
	return w
}

// cut parts or mends the network. It is to be called in turns.
func (w *wire) cut(parted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if parted {
		w.whole = make(chan struct{})
		return
	}
	close(w.whole)
}

func (w *wire) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wireConn{Conn: c, wire: w, closed: make(chan struct{})}, nil
}

type wireConn struct {
	net.Conn
	wire   *wire
	once   sync.Once
	closed chan struct{}
}

// pass waits until the network is whole, or the connection closed.
func (c *wireConn) pass() {
	c.wire.mu.Lock()
	whole := c.wire.whole
	c.wire.mu.Unlock()
	select {
	case <-whole:
	case <-c.closed:
	}
}

func (c *wireConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.pass()
	return n, err
}

func (c *wireConn) Write(b []byte) (int, error) {
	c.pass()
	return c.Conn.Write(b)
}

func (c *wireConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}
