package attack

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/test/attack/node"
)

// datagram is one answer of a DNS server, and whether over UDP it comes from another port than was asked.
type datagram struct {
	message   []byte
	otherPort bool
}

// serveDNS answers what comes to port 53 of a pod, over UDP and TCP, until the test ends.
func serveDNS(t *testing.T, pod *node.Pod, answer func(q []byte, from netip.Addr) []datagram) {
	t.Helper()
	var udp, other net.PacketConn
	var tcp net.Listener
	err := netns.Do(pod.File, func() error {
		var errs [3]error
		udp, errs[0] = net.ListenPacket("udp", ":53")
		other, errs[1] = net.ListenPacket("udp", ":5353")
		tcp, errs[2] = net.Listen("tcp", ":53")
		return errors.Join(errs[:]...)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { udp.Close(); other.Close(); tcp.Close() })
	go func() {
		b := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			for _, a := range answer(b[:n], from.(*net.UDPAddr).AddrPort().Addr().Unmap()) {
				conn := udp
				if a.otherPort {
					conn = other
				}
				conn.WriteTo(a.message, from)
			}
		}
	}()
	go func() {
		for {
			c, err := tcp.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					q, err := readDNS(c)
					if err != nil {
						return
					}
					for _, a := range answer(q, c.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()) {
						c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a.message))), a.message...))
					}
				}
			}()
		}
	}()
}

func readDNS(c net.Conn) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, b)
	return b, err
}
