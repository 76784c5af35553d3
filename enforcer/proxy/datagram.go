package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/policy"
)

// DatagramHandler is a Handler whose classes get datagrams as well.
type DatagramHandler interface {
	// ServeDatagram is called for each datagram, by a goroutine of its own. It closes what it
	// dials, and soon returns when ctx ends.
	ServeDatagram(ctx context.Context, d *Datagram)
}

// Datagram is one datagram of a client that the data path gave the proxy.
type Datagram struct {
	Data []byte
	// Src and Dst are its own client and server.
	Src, Dst netip.AddrPort
	// Dial returns a socket that is connected to Dst in the client's address, from a port that
	// nobody can guess.
	Dial func(ctx context.Context) (net.Conn, error)
	// Reply sends the client an answer as if Dst did.
	Reply func(data []byte) error
	// Class returns the rules as they are now.
	Class func() *policy.Class
}

// datagrams are the sockets of a class: one for each family, that the data path finds by
// their port.
type datagrams struct {
	sockets []*net.UDPConn
	up      leg
	replies replies
}

// Sizes of what is read.
const (
	maxDatagram = 65535
	maxControl  = 256
	// readBuffer holds what comes while the reader is not running.
	readBuffer = 4 << 20
)

func listenDatagrams(ctx context.Context, down, up leg, port uint16) (*datagrams, error) {
	out := &datagrams{up: up, replies: replies{down: down, open: map[netip.AddrPort]*net.UDPConn{}}}
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return errors.Join(control(raw, network, down, false), wantDestination(raw, network))
	}}
	for network, host := range map[string]string{"udp4": "127.0.0.1", "udp6": "::1"} {
		c, err := config.ListenPacket(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
		if network == "udp6" && noIPv6(err) {
			continue
		}
		if err != nil {
			out.close()
			return nil, err
		}
		socket := c.(*net.UDPConn)
		socket.SetReadBuffer(readBuffer) //nolint:errcheck // a smaller one does as well
		out.sockets = append(out.sockets, socket)
	}
	return out, nil
}

// wantDestination has each datagram tell where it was sent.
func wantDestination(raw syscall.RawConn, network string) error {
	level, option := unix.SOL_IP, unix.IP_RECVORIGDSTADDR
	if strings.HasSuffix(network, "6") {
		level, option = unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR
	}
	var err error
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, 1) }); failed != nil {
		return failed
	}
	return err
}

func (d *datagrams) close() {
	for _, s := range d.sockets {
		s.Close()
	}
	d.replies.close()
}

// read hands datagrams on until the socket is closed.
func (p *Proxy) read(s *served, socket *net.UDPConn, h DatagramHandler) {
	b, control := make([]byte, maxDatagram), make([]byte, maxControl)
	for {
		n, m, _, src, err := socket.ReadMsgUDPAddrPort(b, control)
		if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
			return
		}
		if err != nil {
			p.config.Failed(fmt.Errorf("read a datagram: %w", err))
			pause(s.ctx)
			continue
		}
		dst, ok := destination(control[:m])
		if !ok {
			p.config.Failed(errors.New("a datagram does not say where it was sent"))
			continue
		}
		d := s.datagrams.datagram(append([]byte(nil), b[:n]...), netip.AddrPortFrom(src.Addr().Unmap(), src.Port()), dst, s.class)
		reply := d.Reply
		d.Reply = func(answer []byte) error {
			err := reply(answer)
			if err != nil && s.ctx.Err() == nil {
				p.config.Failed(err)
			}
			return err
		}
		p.wg.Go(func() { h.ServeDatagram(s.ctx, d) })
	}
}

func (d *datagrams) datagram(data []byte, src, dst netip.AddrPort, class *atomic.Pointer[policy.Class]) *Datagram {
	return &Datagram{
		Data: data, Src: src, Dst: dst, Class: class.Load,
		Dial:  func(ctx context.Context) (net.Conn, error) { return dialDatagrams(ctx, d.up, src.Addr(), dst) },
		Reply: func(answer []byte) error { return d.replies.send(answer, dst, src) },
	}
}

// destination reads what wantDestination asked for.
func destination(control []byte) (netip.AddrPort, bool) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_ORIGDSTADDR && len(m.Data) >= 8:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Data[4:])), binary.BigEndian.Uint16(m.Data[2:])), true
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_ORIGDSTADDR && len(m.Data) >= 24:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(m.Data[8:])), binary.BigEndian.Uint16(m.Data[2:])), true
		}
	}
	return netip.AddrPort{}, false
}

func dialDatagrams(ctx context.Context, up leg, client netip.Addr, server netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{
		LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(client, 0)),
		Control:   func(network, _ string, raw syscall.RawConn) error { return control(raw, network, up, false) },
	}
	conn, err := dialer.DialContext(ctx, "udp", server.String())
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	return conn, nil
}

// replies are sockets with servers' addresses, that answers are sent from.
type replies struct {
	down leg

	mu     sync.Mutex
	open   map[netip.AddrPort]*net.UDPConn
	closed bool
}

// maxReplies is how many sockets are kept; a server beyond them gets one for each answer.
const maxReplies = 64

func (r *replies) send(answer []byte, server, client netip.AddrPort) error {
	socket, keep, err := r.socket(server)
	if err != nil {
		return fmt.Errorf("answer as %v: %w", server, err)
	}
	if !keep {
		defer socket.Close()
	}
	_, err = socket.WriteToUDPAddrPort(answer, client)
	return err
}

func (r *replies) socket(server netip.AddrPort) (socket *net.UDPConn, keep bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, false, net.ErrClosed
	}
	if socket := r.open[server]; socket != nil {
		return socket, true, nil
	}
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return errors.Join(control(raw, network, r.down, false), shareAddress(raw))
	}}
	c, err := config.ListenPacket(context.Background(), "udp", server.String())
	if err != nil {
		return nil, false, err
	}
	socket = c.(*net.UDPConn)
	if len(r.open) < maxReplies {
		r.open[server], keep = socket, true
	}
	return socket, keep, nil
}

// shareAddress lets several classes answer as one server.
func shareAddress(raw syscall.RawConn) error {
	var err error
	if failed := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); failed != nil {
		return failed
	}
	return err
}

func (r *replies) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, s := range r.open {
		s.Close()
	}
}
