package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/policy"
)

// The marks of sockets say which leg of a proxied connection a packet is of, as those of
// Envoy's do.
const (
	markIngressDownstream = 1
	markIngressUpstream   = 2
	markEgressDownstream  = 3
	markEgressUpstream    = 4
)

// leg is what the sockets of one leg have in common. They are bound to its veth, so that none
// of another leg can have the same tuple.
type leg struct {
	mark   int
	device string
}

// legs are the client's and the server's.
func (c Config) legs(d policy.Direction) (downstream, upstream leg) {
	down, up := markIngressDownstream, markIngressUpstream
	if d == policy.Egress {
		down, up = markEgressDownstream, markEgressUpstream
	}
	return leg{down, c.Device(down)}, leg{up, c.Device(up)}
}

// Device is the interface of a leg in the proxy's namespace, by its mark.
func Device(mark int) string { return "l7p1-" + strconv.Itoa(mark) }

// listen opens the listeners of a class, one for each family. The data path finds them by
// their port; nothing else reaches them.
func listen(ctx context.Context, down leg, port uint16) ([]*net.TCPListener, error) {
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return control(raw, network, down, false)
	}}
	// The data path's map holds TCP sockets.
	config.SetMultipathTCP(false)
	var out []*net.TCPListener
	for network, host := range map[string]string{"tcp4": "127.0.0.1", "tcp6": "::1"} {
		l, err := config.Listen(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
		if network == "tcp6" && noIPv6(err) {
			continue
		}
		if err != nil {
			for _, open := range out {
				open.Close()
			}
			return nil, err
		}
		out = append(out, l.(*net.TCPListener))
	}
	return out, nil
}

// dial connects to a server in the client's address.
func dial(ctx context.Context, up leg, client netip.Addr, server netip.AddrPort) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout: dialTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0)), KeepAliveConfig: keepalive(),
		Control: func(network, _ string, raw syscall.RawConn) error { return control(raw, network, up, true) },
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	return conn, nil
}

// control makes a socket transparent, gives it its leg's mark and binds it to its leg's veth.
func control(raw syscall.RawConn, network string, l leg, latePort bool) error {
	var err error
	if failed := raw.Control(func(fd uintptr) { err = setOptions(int(fd), network, l, latePort) }); failed != nil {
		return failed
	}
	return err
}

func setOptions(fd int, network string, l leg, latePort bool) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if strings.HasSuffix(network, "6") {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return fmt.Errorf("make the socket transparent: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, l.mark); err != nil {
		return fmt.Errorf("mark the socket: %w", err)
	}
	if err := unix.BindToDevice(fd, l.device); err != nil {
		return fmt.Errorf("bind the socket to %s: %w", l.device, err)
	}
	if !latePort {
		return nil
	}
	// The port is chosen when the destination is known: there are enough of them then.
	if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
		return fmt.Errorf("choose the port late: %w", err)
	}
	return nil
}

// noIPv6 is true for the errors of a kernel or namespace that has IPv6 turned off.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL)
}
