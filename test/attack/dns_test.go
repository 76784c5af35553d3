package attack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// resolver is a DNS server in a pod. It answers every name by its first label: see records.
type resolver struct {
	mu    sync.Mutex
	asked []string
	from  []netip.Addr
}

func (r *resolver) saw(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.asked {
		if strings.EqualFold(a, name) {
			return true
		}
	}
	return false
}

// answer is what the resolver says: addresses for the name, as many as fit a large answer for
// "large", nothing at all for "silent", and what a hostile one would say else.
func (r *resolver) answer(q []byte, from netip.Addr) [][]byte {
	var p dnsmessage.Parser
	h, err := p.Start(q)
	if err != nil {
		return nil
	}
	asked, err := p.Question()
	if err != nil {
		return nil
	}
	r.mu.Lock()
	r.asked, r.from = append(r.asked, asked.Name.String()), append(r.from, from)
	r.mu.Unlock()
	label, _, _ := strings.Cut(strings.ToLower(asked.Name.String()), ".")
	if label == "silent" {
		return nil
	}
	n := map[string]int{"large": 200, "empty": 0}
	count, special := n[label]
	if !special {
		count = 1
	}
	build := func(id uint16, name dnsmessage.Name) []byte {
		b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, Response: true, RecursionAvailable: true})
		b.EnableCompression()
		question := asked
		question.Name = name
		err := errors.Join(b.StartQuestions(), b.Question(question), b.StartAnswers())
		for i := range count {
			head := dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET, TTL: 30}
			err = errors.Join(err, b.AResource(head, dnsmessage.AResource{A: [4]byte{203, 0, byte(113 + i/256), byte(i + 1)}}))
		}
		out, finish := b.Finish()
		if errors.Join(err, finish) != nil {
			return nil
		}
		return out
	}
	right := build(h.ID, asked.Name)
	if label == "stray" { // answers with another id and to another question come first
		return [][]byte{build(h.ID+1, asked.Name), build(h.ID, dnsmessage.MustNewName("other.example.com.")), {1, 2, 3}, right}
	}
	return [][]byte{right}
}

func (r *resolver) serve(t *testing.T, pod *node.Pod) {
	t.Helper()
	serveDNS(t, pod, func(q []byte, from netip.Addr) []datagram {
		var out []datagram
		for _, a := range r.answer(q, from) {
			out = append(out, datagram{message: a})
		}
		return out
	})
}

func dnsQuery(t *testing.T, name string) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: 0x4242, RecursionDesired: true})
	var opt dnsmessage.ResourceHeader
	err := errors.Join(b.StartQuestions(), b.Question(dnsmessage.Question{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}),
		b.StartAdditionals(), opt.SetEDNS0(8192, 0, false), b.OPTResource(opt, dnsmessage.OPTResource{}))
	out, finish := b.Finish()
	if err := errors.Join(err, finish); err != nil {
		t.Fatal(err)
	}
	return out
}

// lookUp asks a server from a pod, over UDP or TCP.
func lookUp(t *testing.T, from *node.Pod, network, server, name string) (*dnsmessage.Message, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, err := node.Dial(ctx, from.NS, net.Dialer{}, network, server)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	q := dnsQuery(t, name)
	var b []byte
	if network == "tcp" {
		conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
		b, err = readDNS(conn)
	} else {
		conn.Write(q)
		b = make([]byte, 65535)
		var n int
		n, err = conn.Read(b)
		b = b[:n]
	}
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(b[:2], q[:2]) {
		t.Errorf("%s: an answer to another question", name)
	}
	var m dnsmessage.Message
	return &m, m.Unpack(b)
}

func dnsPolicy() policy.Policy {
	b := newPolicy("names", app("client"))
	b.to("resolver", []policy.Port{{Protocol: policy.ProtocolUDP, Port: 53}, {Protocol: policy.ProtocolTCP, Port: 53}})
	b.spec.Egress.Rules[0].L7 = &policy.DNS{Rules: []policy.DNSRule{{ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[0].dns[0]"}, Name: "*.example.com"}}}
	return b.policy()
}

// TestDNS asks a hostile server through the whole node.
func TestDNS(t *testing.T) {
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	at := n.AddPod("resolver", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	other := n.AddPod("other", "10.244.1.4", policy.Labels{"k8s:app": "other"})
	var r, wrong resolver
	r.serve(t, at)
	wrong.serve(t, other)
	n.Publish(dnsPolicy())
	deadline := time.Now().Add(20 * time.Second)
	for _, addr := range at.Addrs { // the first packets may be lost while neighbours are looked for
		for {
			if _, err := lookUp(t, client, "udp", net.JoinHostPort(addr.String(), "53"), "ready.example.com."); err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("no lookup at %v is answered", addr)
			}
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range at.Addrs {
			server := net.JoinHostPort(addr.String(), "53")
			for name, want := range map[string]struct {
				code    dnsmessage.RCode
				records int
			}{
				"www.example.com.": {0, 1}, "WwW.eXample.com.": {0, 1}, "large.example.com.": {0, 200}, "empty.example.com.": {0, 0},
				"example.com.": {dnsmessage.RCodeRefused, 0}, "secret.evil.example.": {dnsmessage.RCodeRefused, 0}, "a.b.example.com.": {dnsmessage.RCodeRefused, 0},
			} {
				m, err := lookUp(t, client, network, server, name)
				if err != nil || m.RCode != want.code || len(m.Answers) != want.records || m.Questions[0].Name.String() != name {
					t.Errorf("%s over %s at %s: %v, %v", name, network, server, m, err)
				}
			}
		}
	}
	if m, err := lookUp(t, client, "udp", net.JoinHostPort(at.Addrs[0].String(), "53"), "stray.example.com."); err != nil || m.Questions[0].Name.String() != "stray.example.com." {
		t.Errorf("stray answers: %v, %v", m, err)
	}
	for _, name := range []string{"example.com.", "secret.evil.example.", "a.b.example.com."} {
		if r.saw(name) {
			t.Errorf("the server was asked for %s", name)
		}
	}
	for _, from := range r.from {
		if from != client.Addrs[0] && from != client.Addrs[1] {
			t.Errorf("the server was asked by %v", from)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		if _, err := lookUp(t, client, network, net.JoinHostPort(other.Addrs[0].String(), "53"), "www.example.com."); err == nil {
			t.Errorf("a server that is not allowed answered over %s", network)
		}
	}
	if wrong.saw("www.example.com.") {
		t.Error("a server that is not allowed was asked")
	}
	conn, err := node.Dial(t.Context(), client.NS, net.Dialer{}, "tcp", net.JoinHostPort(at.Addrs[0].String(), "53"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(2 * time.Second))
	conn.Write([]byte("\x00\x08GET / HT"))
	if _, err := io.ReadAll(conn); err == nil {
		t.Error("what is no DNS was not reset")
	}
	lookUpsThroughRestart(t, n, client, net.JoinHostPort(at.Addrs[0].String(), "53"))
}

// lookUpsThroughRestart asks all the time while the enforcer is killed and comes back: every
// question is judged, by the rules that the proxy has.
func lookUpsThroughRestart(t *testing.T, n *node.Node, client *node.Pod, server string) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	asked := 0
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			for name, want := range map[string]dnsmessage.RCode{"www.example.com.": dnsmessage.RCodeSuccess, "example.com.": dnsmessage.RCodeRefused} {
				asked++
				if m, err := lookUp(t, client, "udp", server, name); err != nil || m.RCode != want {
					t.Errorf("%s while the enforcer restarts: %v, %v", name, m, err)
				}
			}
		}
	}()
	n.Enforcer.Kill(syscall.SIGKILL)
	time.Sleep(500 * time.Millisecond)
	n.StartEnforcer()
	n.Publish(dnsPolicy())
	time.Sleep(500 * time.Millisecond)
	close(stop)
	<-done
	t.Logf("%d questions", asked)
}
