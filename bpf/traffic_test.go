package bpf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	servedPort   = 80
	ingressClass = 33001
	egressClass  = 33002
)

// testProxy is what Envoy is to the data path: a transparent listener for each class and
// family, whose upstream connections have the client's address.
type testProxy struct {
	ns        *namespace
	listeners map[uint16][]net.Listener
	// served counts the connections of each class.
	ingress, egress atomic.Int64

	mu    sync.Mutex
	conns []*net.TCPConn
}

// vanish ends the proxy's connections without a word, as the death of a machine does.
func (p *testProxy) vanish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		raw, err := c.SyscallConn()
		if err == nil {
			raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_REPAIR, 1) })
		}
		if err != nil {
			p.ns.t.Errorf("silence a connection: %v", err)
		}
	}
	for _, c := range p.conns {
		c.Close() // or serve has
	}
	p.conns = nil
}

func startProxy(ns *namespace) *testProxy {
	ns.t.Helper()
	p := &testProxy{ns: ns, listeners: map[uint16][]net.Listener{}}
	for _, host := range []string{"127.0.0.1", "::1"} {
		p.listen(host, ingressClass, 1, 2, &p.ingress)
		p.listen(host, egressClass, 3, 4, &p.egress)
	}
	ns.t.Cleanup(func() {
		for class := range p.listeners {
			p.close(class)
		}
	})
	return p
}

func (p *testProxy) close(class uint16) {
	for _, l := range p.listeners[class] {
		l.Close()
	}
	delete(p.listeners, class)
}

func (p *testProxy) listen(host string, class uint16, down, up int, served *atomic.Int64) {
	p.ns.t.Helper()
	p.ns.do(func() error {
		lc := net.ListenConfig{Control: transparent(down)}
		lc.SetMultipathTCP(false)
		l, err := lc.Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(int(class))))
		if err != nil {
			return err
		}
		p.listeners[class] = append(p.listeners[class], l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				served.Add(1)
				go p.serve(c.(*net.TCPConn), up)
			}
		}()
		return nil
	})
}

// serve joins a client's connection and one of its own, each half for itself.
func (p *testProxy) serve(down *net.TCPConn, mark int) {
	defer down.Close()
	var up *net.TCPConn
	err := inNetNS(p.ns.File, func() error {
		client := *down.RemoteAddr().(*net.TCPAddr)
		client.Port = 0
		d := net.Dialer{LocalAddr: &client, Timeout: 5 * time.Second, Control: transparent(mark)}
		d.SetMultipathTCP(false)
		c, err := d.Dial("tcp", down.LocalAddr().String())
		if err == nil {
			up = c.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		down.SetLinger(0)
		return
	}
	defer up.Close()
	p.mu.Lock()
	p.conns = append(p.conns, down, up)
	p.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := io.Copy(up, down); err != nil {
			up.SetLinger(0)
			up.Close()
		}
		up.CloseWrite()
	}()
	if _, err := io.Copy(down, up); err != nil {
		down.SetLinger(0)
		down.Close()
	}
	down.CloseWrite()
	<-done
}

func transparent(mark int) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) {
			set := func(level, option, value int) {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), level, option, value))
			}
			set(unix.SOL_SOCKET, unix.SO_MARK, mark)
			err = errors.Join(err, unix.BindToDevice(int(fd), proxyName(mark)))
			set(unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
			if network == "tcp6" {
				set(unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
			} else {
				set(unix.SOL_IP, unix.IP_TRANSPARENT, 1)
			}
		})
		return errors.Join(ctlErr, err)
	}
}

// hangUp has a server close its side first.
const hangUp = "Q"

// serve answers each connection on a port with the address that it comes from and a line
// break, and then with whatever it gets, up to hangUp.
func (p *testPod) serve(port int) {
	p.t.Helper()
	p.do(func() error {
		l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					remote := c.RemoteAddr().(*net.TCPAddr).AddrPort()
					remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
					fmt.Fprintf(c, "%v\n", remote)
					b := make([]byte, 1<<16)
					for {
						n, err := c.Read(b)
						if err != nil || string(b[:n]) == hangUp {
							return
						}
						if _, err := c.Write(b[:n]); err != nil {
							return
						}
					}
				}()
			}
		}()
		return nil
	})
}

// dial connects from a pod, and is told what address the server sees.
func (p *testPod) dial(d net.Dialer, to netip.AddrPort) (c *net.TCPConn, seen netip.AddrPort, err error) {
	if d.Timeout == 0 {
		d.Timeout = 5 * time.Second
	}
	d.SetMultipathTCP(false)
	err = inNetNS(p.File, func() error {
		conn, err := d.Dial("tcp", to.String())
		if err == nil {
			c = conn.(*net.TCPConn)
		}
		return err
	})
	if err != nil {
		return nil, seen, err
	}
	c.SetDeadline(time.Now().Add(d.Timeout))
	line := ""
	for b := make([]byte, 1); ; line += string(b) {
		if _, err := io.ReadFull(c, b); err != nil {
			c.Close()
			return nil, seen, fmt.Errorf("read greeting: %w", err)
		}
		if b[0] == '\n' {
			break
		}
	}
	seen, err = netip.ParseAddrPort(line)
	return c, seen, err
}

// echo sends a text and wants it back.
func echo(c net.Conn, text string) error {
	if _, err := io.WriteString(c, text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if string(got) != text {
		return fmt.Errorf("sent %q and got %q back", text, got)
	}
	return nil
}

// visit is one whole connection: connect, be seen as oneself, echo, close.
func (p *testPod) visit(d net.Dialer, to netip.AddrPort) error {
	c, seen, err := p.dial(d, to)
	if err != nil {
		return err
	}
	defer c.Close()
	if want := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); seen.Addr() != want {
		return fmt.Errorf("the server sees %v, not the client's %v", seen.Addr(), want)
	}
	if err := echo(c, "hello"); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
