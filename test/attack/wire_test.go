package attack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/test/attack/node"
)

// port is a packet socket on an interface.
type port struct {
	t   *testing.T
	fd  int
	mac net.HardwareAddr
}

// openLink opens an interface for whole frames; bypass sends them past the interface's qdisc
// and egress programs.
func openLink(t *testing.T, ns *nstest.NS, name string, bypass bool) *port {
	t.Helper()
	p := &port{t: t, mac: ns.Link(name).Attrs().HardwareAddr}
	index := ns.Link(name).Attrs().Index
	ns.Do(func() (err error) {
		p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(swap(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		if bypass {
			err = unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)
		}
		return errors.Join(err, unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20),
			unix.Bind(p.fd, &unix.SockaddrLinklayer{Protocol: swap(unix.ETH_P_ALL), Ifindex: index}))
	})
	t.Cleanup(func() { unix.Close(p.fd) })
	return p
}

func swap(v uint16) uint16 { return v<<8 | v>>8 }

// frame puts an Ethernet header before a packet, with VLAN tags if there are any.
func frame(dst, src net.HardwareAddr, packet []byte, tags ...uint32) []byte {
	b := append(append([]byte{}, dst...), src...)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint32(b, tag)
	}
	kind := uint16(unix.ETH_P_IP)
	if packet[0]>>4 == 6 {
		kind = unix.ETH_P_IPV6
	}
	return append(binary.BigEndian.AppendUint16(b, kind), packet...)
}

func (p *port) send(frame []byte) {
	p.t.Helper()
	for {
		_, err := unix.Write(p.fd, frame)
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			p.t.Fatal(err)
		}
		return
	}
}

// received are the frames that the interface has received since the last call, and not those
// that it has sent.
func (p *port) received() [][]byte {
	p.t.Helper()
	var frames [][]byte
	b := make([]byte, 1<<16)
	for {
		n, from, err := unix.Recvfrom(p.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) {
			return frames
		}
		if err != nil {
			p.t.Fatal(err)
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype != unix.PACKET_OUTGOING {
			frames = append(frames, bytes.Clone(b[:n]))
		}
	}
}

// sees waits for a frame that holds the marker.
func (p *port) sees(marker []byte, atMost time.Duration) bool {
	p.t.Helper()
	for deadline := time.Now().Add(atMost); ; time.Sleep(5 * time.Millisecond) {
		for _, f := range p.received() {
			if bytes.Contains(f, marker) {
				return true
			}
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

// quiet is how long a frame that must not come is waited for: one that may come takes
// microseconds.
const quiet = 60 * time.Millisecond

// attacker sends frames from a pod to its gateway, with the pod's own addresses or others.
type attacker struct {
	*port
	pod     *node.Pod
	gateway net.HardwareAddr
}

func (s *suite) attacker(t *testing.T, name string) *attacker {
	t.Helper()
	pod := s.Pods[name]
	return &attacker{port: openLink(t, pod.NS, "eth0", true), pod: pod, gateway: s.Host.Link(pod.HostVeth()).Attrs().HardwareAddr}
}

// packet sends one packet to the gateway.
func (a *attacker) packet(packet []byte, tags ...uint32) {
	a.t.Helper()
	a.send(frame(a.gateway, a.mac, packet, tags...))
}

func (a *attacker) v4() netip.Addr { return a.pod.Addrs[0] }
func (a *attacker) v6() netip.Addr { return a.pod.Addrs[1] }

// mark is a payload that no other packet has.
func (s *suite) mark() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks++
	return fmt.Appendf(nil, "<attack %06d>", s.marks)
}
