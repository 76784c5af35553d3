package proxyns

import (
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
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	err = errors.Join(
		unix.SetsockoptTimeval(capture, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, mark))
	if err != nil {
		return 0, fmt.Errorf("set socket options: %w", err)
	}
	if src != nil {
		if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte(src.To4())}); err != nil {
			return 0, fmt.Errorf("bind to %s: %w", src, err)
		}
	}
	if err := unix.Sendto(fd, []byte("septum"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{10, 9, 9, 9}}); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	for {
		_, from, err := unix.Recvfrom(capture, make([]byte, 256), 0)
		if err != nil {
			return 0, fmt.Errorf("capture: %w", err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING && ll.Protocol == htons(unix.ETH_P_IP) {
			return ll.Ifindex, nil
		}
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }
