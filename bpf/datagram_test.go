package bpf

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// datagramProxy is what the DNS proxy is to the data path: a transparent socket for each class
// and family, answers from the address that was asked, and questions from the client's.
func (p *testProxy) datagrams(class uint16, down, up int, served *atomic.Int64) {
	p.ns.t.Helper()
	for _, host := range []string{"127.0.0.1", "::1"} {
		conn := p.packetConn(host, int(class), down)
		p.ns.t.Cleanup(func() { conn.Close() })
		go func() {
			b, oob := make([]byte, 1<<16), make([]byte, 256)
			for {
				n, m, _, client, err := conn.ReadMsgUDPAddrPort(b, oob)
				if err != nil {
					return
				}
				served.Add(1)
				client = netip.AddrPortFrom(client.Addr().Unmap(), client.Port())
				go p.pass(append([]byte(nil), b[:n]...), client, originalDestination(oob[:m]), down, up)
			}
		}()
	}
}

func (p *testProxy) packetConn(host string, port, mark int) (out *net.UDPConn) {
	network := "udp4"
	if netip.MustParseAddr(host).Is6() {
		network = "udp6"
	}
	err := inNetNS(p.ns.File, func() error {
		lc := net.ListenConfig{Control: transparentDatagrams(mark)}
		c, err := lc.ListenPacket(context.Background(), network, net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			out = c.(*net.UDPConn)
		}
		return err
	})
	if err != nil {
		p.ns.t.Errorf("bind %s:%d: %v", host, port, err)
	}
	return out
}

// pass sends one datagram on, and its answer back.
func (p *testProxy) pass(data []byte, client, server netip.AddrPort, down, up int) {
	var conn net.Conn
	err := inNetNS(p.ns.File, func() (err error) {
		d := net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(client.Addr(), 0)), Control: transparentDatagrams(up)}
		conn, err = d.Dial("udp", server.String())
		return err
	})
	if err != nil {
		p.ns.t.Errorf("connect to %v as %v: %v", server, client, err)
		return
	}
	defer conn.Close()
	conn.Write(data)
	conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	b := make([]byte, 1<<16)
	n, err := conn.Read(b)
	if err != nil {
		return
	}
	back := p.packetConn(server.Addr().String(), int(server.Port()), down)
	if back == nil {
		return
	}
	defer back.Close()
	back.WriteToUDPAddrPort(b[:n], client)
}

func transparentDatagrams(mark int) func(network, address string, c syscall.RawConn) error {
	return func(network, _ string, c syscall.RawConn) error {
		var err error
		ctlErr := c.Control(func(fd uintptr) {
			set := func(level, option, value int) {
				err = errors.Join(err, unix.SetsockoptInt(int(fd), level, option, value))
			}
			set(unix.SOL_SOCKET, unix.SO_MARK, mark)
			set(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if network == "udp6" {
				set(unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
				set(unix.SOL_IPV6, unix.IPV6_RECVORIGDSTADDR, 1)
			} else {
				set(unix.SOL_IP, unix.IP_TRANSPARENT, 1)
				set(unix.SOL_IP, unix.IP_RECVORIGDSTADDR, 1)
			}
		})
		return errors.Join(ctlErr, err)
	}
}

func originalDestination(oob []byte) netip.AddrPort {
	messages, _ := unix.ParseSocketControlMessage(oob)
	for _, m := range messages {
		switch {
		case m.Header.Level == unix.SOL_IP && m.Header.Type == unix.IP_ORIGDSTADDR && len(m.Data) >= 8:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Data[4:])), binary.BigEndian.Uint16(m.Data[2:]))
		case m.Header.Level == unix.SOL_IPV6 && m.Header.Type == unix.IPV6_ORIGDSTADDR && len(m.Data) >= 24:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(m.Data[8:])), binary.BigEndian.Uint16(m.Data[2:]))
		}
	}
	return netip.AddrPort{}
}

// answer answers each datagram on a port with the address that it comes from, a line break and
// the datagram, size times.
func (p *testPod) answer(port int) {
	p.t.Helper()
	p.do(func() error {
		conn, err := net.ListenUDP("udp", &net.UDPAddr{Port: port})
		if err != nil {
			return err
		}
		p.t.Cleanup(func() { conn.Close() })
		go func() {
			b := make([]byte, 1<<16)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				size, _ := strconv.Atoi(string(b[:n]))
				out := append([]byte(from.Addr().Unmap().String()+"\n"), bytes.Repeat([]byte("x"), size)...)
				conn.WriteToUDPAddrPort(out, from)
			}
		}()
		return nil
	})
}

// ask sends a datagram from a socket of a pod's and wants the whole answer, from the address
// that was asked, to a question that came from the pod's.
func ask(conn net.Conn, size int) error {
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := conn.Write([]byte(strconv.Itoa(size))); err != nil {
		return err
	}
	b := make([]byte, 1<<16)
	n, err := conn.Read(b)
	if err != nil {
		return err
	}
	seen, rest, _ := bytes.Cut(b[:n], []byte("\n"))
	if own := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String(); string(seen) != own {
		return fmt.Errorf("the server sees %s, not the client's %s", seen, own)
	}
	if len(rest) != size {
		return fmt.Errorf("%d bytes of %d came", len(rest), size)
	}
	return nil
}

func (p *testPod) socket(to netip.AddrPort) (conn net.Conn) {
	p.t.Helper()
	p.do(func() (err error) {
		conn, err = net.Dial("udp", to.String())
		return err
	})
	p.t.Cleanup(func() { conn.Close() })
	return conn
}

// datagramLab is a lab in which the datagrams to b's port are redirected.
func datagramLab(t *testing.T, n network, ingress, egress bool) *lab {
	t.Helper()
	l := newLab(t, n, ingress, egress)
	must(t, l.Apply(datagramState(l, ingress, egress, policy.Redirected)))
	l.proxy.datagrams(ingressClass, 1, 2, &l.proxy.ingress)
	l.proxy.datagrams(egressClass, 3, 4, &l.proxy.egress)
	l.pods["b"].answer(servedPort)
	return l
}

func datagramState(l *lab, ingress, egress bool, v policy.Verdict) State {
	s := labState(l.testNode, ingress, egress)
	in := TableEntry{Table: 1, Identity: idA, Protocol: unix.IPPROTO_UDP, Port: servedPort, PrefixLen: 16, Verdict: v, Class: ingressClass, Rule: 1}
	out := TableEntry{Table: 2, Identity: idB, Protocol: unix.IPPROTO_UDP, Port: servedPort, PrefixLen: 16, Verdict: v, Class: egressClass, Rule: 3}
	if v != policy.Redirected {
		in.Class, out.Class = 0, 0
	}
	s.Tables = append(s.Tables, in, out)
	return s
}

func TestProxiedDatagrams(t *testing.T) {
	const questions = 40
	for _, test := range []struct {
		name            string
		network         network
		ingress, egress bool
	}{
		{"ingress", routed, true, false},
		{"egress", routed, false, true},
		{"both on one node", routed, true, true},
		{"ingress", bridged, true, false},
		{"egress", bridged, false, true},
		{"both on one node", bridged, true, true},
	} {
		t.Run(string(test.network)+" "+test.name, func(t *testing.T) {
			l := datagramLab(t, test.network, test.ingress, test.egress)
			for i := range questions {
				to := l.at(servedPort)
				if i%2 == 1 {
					to = l.at6(servedPort)
				}
				// Every fourth answer does not fit into a frame.
				if err := ask(l.pods["a"].socket(to), i/2%2*4000); err != nil {
					t.Fatalf("question %d to %v: %v", i, to, err)
				}
			}
			want := map[bool]int64{true: questions}
			if got := l.proxy.ingress.Load(); got != want[test.ingress] {
				t.Errorf("%d datagrams in the ingress class, want %d", got, want[test.ingress])
			}
			if got := l.proxy.egress.Load(); got != want[test.egress] {
				t.Errorf("%d datagrams in the egress class, want %d", got, want[test.egress])
			}
			if test.ingress {
				if err := ask(l.pods["c"].socket(l.at(servedPort)), 0); !isTimeout(err) {
					t.Errorf("a peer that is denied: %v", err)
				}
			}
		})
	}
}

// A socket that a pod goes on asking with meets the policy of the moment, and loses nothing.
func TestDatagramsOfAChange(t *testing.T) {
	l := datagramLab(t, routed, false, true)
	conn := l.pods["a"].socket(l.at(servedPort))
	for i, step := range []struct {
		verdict policy.Verdict
		proxied int64
		refused bool
	}{{policy.Redirected, 1, false}, {policy.Forwarded, 1, false}, {policy.Redirected, 2, false}, {policy.Denied, 2, true}, {policy.Redirected, 3, false}} {
		must(t, l.Apply(datagramState(l, false, true, step.verdict)))
		err := ask(conn, 0)
		// A flow that was open without the proxy is cut by its first datagram.
		if i == 2 && isTimeout(err) {
			err = ask(conn, 0)
		}
		if isTimeout(err) != step.refused || err != nil && !step.refused {
			t.Fatalf("step %d: %v", i, err)
		}
		if got := l.proxy.egress.Load(); got != step.proxied {
			t.Errorf("step %d: %d datagrams through the proxy, want %d", i, got, step.proxied)
		}
	}
}

// A question in fragments could be put together where it is nobody's.
func TestDatagramInFragments(t *testing.T) {
	l := datagramLab(t, routed, false, true)
	conn := l.pods["a"].socket(l.at(servedPort))
	if _, err := conn.Write(bytes.Repeat([]byte("0"), 3000)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if got := l.proxy.egress.Load(); got != 0 {
		t.Errorf("%d datagrams in fragments reached the proxy", got)
	}
	if err := ask(conn, 10); err != nil {
		t.Errorf("the next one: %v", err)
	}
}
