package proxyns

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// outgoing sends a datagram from src (nil: no source yet) with the mark, as Envoy's
// transparent sockets do, and returns the index of the interface that it leaves by.
func outgoing(src net.IP, mark int) (int, error) {
	capture, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
	if err != nil {
		return 0, fmt.Errorf("open capture: %w", err)
	}
	defer unix.Close(capture)
	timeout := unix.NsecToTimeval(int64(2 * time.Second))
	family, level, option, protocol := unix.AF_INET, unix.SOL_IP, unix.IP_TRANSPARENT, uint16(unix.ETH_P_IP)
	var bind, to unix.Sockaddr = sockaddr(src), &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 9, 9, 9}}
	if src != nil && src.To4() == nil {
		family, level, option, protocol = unix.AF_INET6, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, unix.ETH_P_IPV6
		to = &unix.SockaddrInet6{Port: 9, Addr: [16]byte{0xfd, 9, 15: 9}}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	err = errors.Join(
		unix.SetsockoptTimeval(capture, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(fd, level, option, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark))
	if err != nil {
		return 0, fmt.Errorf("set socket options: %w", err)
	}
	if src != nil {
		if err := unix.Bind(fd, bind); err != nil {
			return 0, fmt.Errorf("bind to %s: %w", src, err)
		}
	}
	if err := unix.Sendto(fd, []byte("septum"), 0, to); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	for b := make([]byte, 256); ; {
		n, from, err := unix.Recvfrom(capture, b, 0)
		if err != nil {
			return 0, fmt.Errorf("capture: %w", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING && ll.Protocol == htons(protocol) && bytes.Contains(b[:n], []byte("septum")) {
			return ll.Ifindex, nil
		}
	}
}

func sockaddr(ip net.IP) unix.Sockaddr {
	if ip4 := ip.To4(); ip4 != nil {
		return &unix.SockaddrInet4{Addr: [4]byte(ip4)}
	}
	if ip == nil {
		return nil
	}
	return &unix.SockaddrInet6{Addr: [16]byte(ip)}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
