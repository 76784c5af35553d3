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

// marks are those of the client's and of the server's leg.
func marks(d policy.Direction) (downstream, upstream int) {
	if d == policy.Egress {
		return markEgressDownstream, markEgressUpstream
	}
	return markIngressDownstream, markIngressUpstream
}

// listen opens the listeners of a class, one for each family. The data path finds them by
// their port; nothing else reaches them.
func listen(ctx context.Context, d policy.Direction, port uint16) ([]*net.TCPListener, error) {
	mark, _ := marks(d)
	config := net.ListenConfig{Control: func(network, _ string, raw syscall.RawConn) error {
		return control(raw, network, mark, false)
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
func dial(ctx context.Context, d policy.Direction, client netip.Addr, server netip.AddrPort) (net.Conn, error) {
	_, mark := marks(d)
	dialer := net.Dialer{
		Timeout: dialTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(client, 0)), KeepAliveConfig: keepalive(),
		Control: func(network, _ string, raw syscall.RawConn) error { return control(raw, network, mark, true) },
	}
	dialer.SetMultipathTCP(false)
	conn, err := dialer.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, fmt.Errorf("connect to the server: %w", err)
	}
	return conn, nil
}

// control makes a socket transparent and gives it its leg's mark.
func control(raw syscall.RawConn, network string, mark int, latePort bool) error {
	var err error
	if failed := raw.Control(func(fd uintptr) { err = setOptions(int(fd), network, mark, latePort) }); failed != nil {
		return failed
	}
	return err
}

func setOptions(fd int, network string, mark int, latePort bool) error {
	level, option := unix.SOL_IP, unix.IP_TRANSPARENT
	if strings.HasSuffix(network, "6") {
		level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return fmt.Errorf("make the socket transparent: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark); err != nil {
		return fmt.Errorf("mark the socket: %w", err)
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
