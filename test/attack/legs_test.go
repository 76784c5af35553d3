package attack

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// TestSameTupleOnTwoLegs has a client use the very port that Septum's own proxy has taken in its
// name for another connection, which is policed at both ends: two sockets of the proxy have one
// tuple then, on different legs, and each gets what is its own.
func TestSameTupleOnTwoLegs(t *testing.T) {
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	at := n.AddPod("resolver", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	var r resolver
	r.serve(t, at)
	ports := []policy.Port{{Protocol: policy.ProtocolTCP, Port: 53}, {Protocol: policy.ProtocolUDP, Port: 53}}
	both := func(b *builder, direction, peer string, section *policy.Section) policy.Policy {
		b.allow(section, direction, peer, ports)
		section.Rules[0].L7 = &policy.DNS{Rules: []policy.DNSRule{{ID: policy.RuleID{Policy: b.ref, Path: "dns"}, Name: "*.example.com"}}}
		return b.policy()
	}
	out, in := newPolicy("out", app("client")), newPolicy("in", app("resolver"))
	n.Publish(both(out, "egress", "resolver", &out.spec.Egress), both(in, "ingress", "client", &in.spec.Ingress))
	ask := func(c net.Conn) error {
		q := dnsQuery(t, "www.example.com.")
		c.SetDeadline(time.Now().Add(3 * time.Second))
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
			return err
		}
		_, err := readDNS(c)
		return err
	}
	const own = 9000 // no port that the pod's kernel may have given to another connection
	for family, addr := range at.Addrs {
		server := net.JoinHostPort(addr.String(), "53")
		for deadline := time.Now().Add(20 * time.Second); ; {
			if _, err := lookUp(t, client, "tcp", server, "ready.example.com."); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("no lookup at %s is answered: %v", server, err)
			}
		}
		first, err := node.Dial(t.Context(), client.NS, net.Dialer{LocalAddr: local(client, family, own)}, "tcp", server)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		if err := ask(first); err != nil {
			t.Fatal(err)
		}
		// The proxy's own port, as its socket towards the client on ingress shows it.
		taken := 0
		n.Pods["proxy"].Do(func() error {
			sockets, err := netlink.SocketDiagTCP([]uint8{unix.AF_INET, unix.AF_INET6}[family])
			for _, s := range sockets {
				if s.State == netlink.TCP_ESTABLISHED && s.ID.SourcePort == 53 && s.ID.DestinationPort != own {
					taken = int(s.ID.DestinationPort)
				}
			}
			return err
		})
		if taken == 0 {
			t.Fatal("the proxy has no connection of its own")
		}
		second, err := node.Dial(t.Context(), client.NS, net.Dialer{Timeout: 3 * time.Second, LocalAddr: local(client, family, taken), Control: reuse}, "tcp", server)
		if err != nil {
			t.Fatalf("from port %d: %v", taken, err)
		}
		defer second.Close()
		for range 3 {
			for name, c := range map[string]net.Conn{"first": first, "second": second} {
				if err := ask(c); err != nil {
					t.Errorf("the %s connection to %s, from port %d: %v", name, server, taken, err)
				}
			}
		}
		sameDatagrams(t, n, client, family, server)
		halfClosed(t, client, server)
	}
}

// sameDatagrams asks from the very ports that the proxy's own questions have, while these wait for
// an answer that does not come.
func sameDatagrams(t *testing.T, n *node.Node, client *node.Pod, family int, server string) {
	t.Helper()
	waiting, err := node.Dial(t.Context(), client.NS, net.Dialer{}, "udp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	if _, err := waiting.Write(dnsQuery(t, "silent.example.com.")); err != nil {
		t.Fatal(err)
	}
	var taken []int
	for end := time.Now().Add(10 * time.Second); len(taken) == 0 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		n.Pods["proxy"].Do(func() error {
			sockets, err := netlink.SocketDiagUDP([]uint8{unix.AF_INET, unix.AF_INET6}[family])
			for _, s := range sockets {
				if s.ID.DestinationPort == 53 {
					taken = append(taken, int(s.ID.SourcePort))
				}
			}
			return err
		})
	}
	if len(taken) == 0 {
		t.Fatal("the proxy asks nobody")
	}
	for _, port := range taken {
		c, err := node.Dial(t.Context(), client.NS, net.Dialer{LocalAddr: &net.UDPAddr{IP: client.Addrs[family].AsSlice(), Port: port}}, "udp", server)
		if err != nil {
			t.Fatalf("from port %d: %v", port, err)
		}
		for range 3 {
			c.SetDeadline(time.Now().Add(5 * time.Second))
			c.Write(dnsQuery(t, "www.example.com.")) //nolint:errcheck // the answer says it
			if _, err := c.Read(make([]byte, 512)); err != nil {
				t.Errorf("a question to %s from port %d, which the proxy has: %v", server, port, err)
			}
		}
		c.Close()
	}
}

// halfClosed asks and says that no more comes: the answer comes nevertheless, and then the end.
func halfClosed(t *testing.T, client *node.Pod, server string) {
	t.Helper()
	c, err := node.Dial(t.Context(), client.NS, net.Dialer{}, "tcp", server)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	q := dnsQuery(t, "www.example.com.")
	if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
		t.Fatal(err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := readDNS(c); err != nil {
		t.Errorf("the answer to %s after the client's half-close: %v", server, err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("after the answer comes %v, not the end", err)
	}
}
