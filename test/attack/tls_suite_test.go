package attack

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/test/clienthello"
)

const tlsIntro = `
TLS, on such a node too: by server name to a server that tells what it gets, and inside, with certificates that a
CA of the test issues for the names of the rule.
`

// tlsSuite is a node with a client that may connect to a server by names: to one port passed on,
// to another inspected.
type tlsSuite struct {
	*node.Node
	ledger
	client, server, other *node.Pod
	// passed are the bytes that came to the server's port of what is passed on.
	mu     sync.Mutex
	passed []byte
}

const (
	goodName  = "www.ok.example"
	tlsPassed = 443
	tlsInside = 8443
)

// TestTLSAttacks has each attack by TLS as a line of its own.
func TestTLSAttacks(t *testing.T) {
	s := &tlsSuite{Node: node.New(t)}
	s.client = s.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	s.server = s.AddPod("server", "10.244.1.3", policy.Labels{"k8s:app": "server"})
	s.other = s.AddPod("other", "10.244.1.4", policy.Labels{"k8s:app": "other"})
	s.serve(t)
	s.Publish(newPolicy("before", app("client")).to("server", tcp(80)).policy())
	s.Publish(s.policy("*.ok.example"))
	t.Run("Names", s.names)
	t.Run("Inside", s.inside)
	t.Run("Clients", s.clients)
	t.Run("Table", func(t *testing.T) {
		s.table(t, page{mark: "TLS attack results", sections: []string{"Server names", "Inside of TLS", "Clients that are inspected"}, intro: tlsIntro})
	})
}

// serve starts the servers: one that says what it is sent, and one of HTTPS with certificates of
// its authority, of another, for another name and one that has expired.
func (s *tlsSuite) serve(t *testing.T) {
	for _, pod := range []*node.Pod{s.server, s.other} {
		l := s.Listen(pod.NS, fmt.Sprintf("[::]:%d", tlsPassed))
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go s.record(c)
			}
		}()
	}
	cert, key := selfSigned(t, goodName, "api.issued.example")
	stranger, strangerKey := selfSigned(t, "stranger.issued.example")
	good, errGood := tls.X509KeyPair(cert, key)
	bad, errBad := tls.X509KeyPair(stranger, strangerKey)
	if err := errors.Join(errGood, errBad); err != nil {
		t.Fatal(err)
	}
	l := tls.NewListener(s.Listen(s.server.NS, fmt.Sprintf("[::]:%d", tlsInside)), &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == "stranger.issued.example" {
			return &bad, nil
		}
		return &good, nil
	}})
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "served "+r.Host+r.URL.Path)
	})}
	go srv.Serve(l) //nolint:errcheck // Close ends it
	t.Cleanup(func() { srv.Close() })

	issuer, issuerKey := selfSigned(t, "issuer")
	s.Secrets = issue(t, issuer, issuerKey, cert)
	if err := os.WriteFile(s.Path("issuer.pem"), issuer, 0o644); err != nil { //nolint:gosec // a certificate
		t.Fatal(err)
	}
}

// record answers one connection, and keeps what came on it.
func (s *tlsSuite) record(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.passed = append(s.passed, b[:n]...)
	s.mu.Unlock()
	_, _ = c.Write([]byte("passed"))
	for err == nil { // what is left
		if n, err = c.Read(b); n > 0 {
			s.mu.Lock()
			s.passed = append(s.passed, b[:n]...)
			s.mu.Unlock()
		}
	}
}

// issuing is a policy whose rule's certificate is issued as the operator does it.
const issuing = `
apiVersion: septum.dev/v1alpha1
kind: L7NetworkPolicy
metadata: {name: tls, namespace: demo}
spec:
  endpointSelector: {}
  egress:
  - to: [{entities: [world]}]
    ports: [{protocol: TCP, port: 8443}]
    tls:
      serverNames: ["*.issued.example"]
      inspect: {issuer: {name: issuer}, serverCA: {name: servers}}
`

// issue returns the rule's certificate, signed by the issuer, as "certificate/issued", and the authority of the servers.
func issue(t *testing.T, issuer, key, servers []byte) []policy.Secret {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(issuing), &u.Object); err != nil {
		t.Fatal(err)
	}
	snapshot, problems := ingest.Snapshot(ingest.Objects{Policies: []unstructured.Unstructured{u}, Time: time.Now(), Secrets: []corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "issuer"}, Data: map[string][]byte{"tls.crt": issuer, "tls.key": key}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "servers"}, Data: map[string][]byte{"ca.crt": servers}},
	}})
	if len(problems) > 0 || len(snapshot.Secrets) != 2 {
		t.Fatalf("%d secrets, %+v", len(snapshot.Secrets), problems)
	}
	ca, leaf := snapshot.Secrets[0], snapshot.Secrets[1]
	ca.ID, leaf.ID = "ca/servers", "certificate/issued"
	return []policy.Secret{ca, leaf}
}

// policy lets the client connect to the server by name, and GET /public of what is issued for.
func (s *tlsSuite) policy(names ...policy.ServerName) policy.Policy {
	b := newPolicy("tls", app("client")).to("server", tcp(tlsPassed)).to("server", tcp(tlsInside))
	tlsPart(&b.spec.Egress.Rules[0], policy.TLS{Rule: policy.TLSRule{Names: names}})
	get := getPublic()
	get.Hosts = []policy.StringMatch{{Kind: policy.MatchRegex, Value: `[a-z]+\.issued\.example`}}
	tlsPart(&b.spec.Egress.Rules[1], policy.TLS{HTTP: []policy.HTTPRule{get}, Rule: policy.TLSRule{
		Names: []policy.ServerName{"*.issued.example"}, Inspect: policy.Inspection{Certificate: "certificate/issued", TrustedCA: "ca/servers"}}})
	return b.policy()
}

// says sends bytes to an address, in pieces of that many, and returns the answer, and what the server got.
func (s *tlsSuite) says(t *testing.T, addr string, hello []byte, pieces int) (answer string, got []byte, err error) {
	t.Helper()
	s.mu.Lock()
	s.passed = nil
	s.mu.Unlock()
	conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{Timeout: 2 * time.Second}, "tcp", addr)
	if err != nil {
		return "", nil, err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	for rest := hello; len(rest) > 0; {
		n := min(pieces, len(rest))
		if _, err := conn.Write(rest[:n]); err != nil {
			return "", nil, err
		}
		if rest = rest[n:]; pieces < 100 {
			time.Sleep(200 * time.Microsecond)
		}
	}
	b := make([]byte, 16)
	n, err := conn.Read(b)
	for deadline := time.Now().Add(2 * time.Second); err == nil && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		got = bytes.Clone(s.passed)
		s.mu.Unlock()
		if len(got) >= len(hello) {
			break
		}
	}
	return string(b[:n]), got, err
}

func (s *tlsSuite) names(t *testing.T) {
	server := net.JoinHostPort(s.server.Addrs[0].String(), fmt.Sprint(tlsPassed))
	sni := clienthello.SNI
	ech := clienthello.Extension{Kind: 0xfe0d, Body: bytes.Repeat([]byte{5}, 200)}
	padding := func(n int) clienthello.Extension { return clienthello.Extension{Kind: 21, Body: make([]byte, n)} }
	for _, tt := range []struct {
		attack, expected string
		hello            []byte
		pieces           int
	}{
		{"an allowed name", same, clienthello.Of(sni(goodName)), 4096},
		{"an allowed name in other letters, with a dot at its end", same, clienthello.Of(sni("wWw.OK.Example.")), 4096},
		{"an allowed name, a byte in each segment", same, clienthello.Of(sni(goodName)), 1},
		{"an allowed name behind 8 KiB, as with keys of post-quantum algorithms", same, clienthello.Of(padding(8<<10), sni(goodName)), 1400},
		{"an allowed name in the clear with an encrypted ClientHello (ECH, or its GREASE)", same, clienthello.Of(ech, sni(goodName)), 4096},
		{"another name in the clear with an encrypted ClientHello", denied, clienthello.Of(sni("no.example"), ech), 4096},
		{"no server name", denied, clienthello.Of(), 4096},
		{"an empty server name", denied, clienthello.Of(sni("")), 4096},
		{"a name that no rule has", denied, clienthello.Of(sni("www.no.example")), 4096},
		{"an allowed name inside of another", denied, clienthello.Of(sni("www.ok.example.evil.example")), 4096},
		{"a name with a label more than its pattern", denied, clienthello.Of(sni("a.www.ok.example")), 4096},
		{"the name above a pattern's", denied, clienthello.Of(sni("ok.example")), 4096},
		{"two names, the allowed one first", denied, clienthello.Of(sni(goodName, "www.no.example")), 4096},
		{"two names, the allowed one last", denied, clienthello.Of(sni("www.no.example", goodName)), 4096},
		{"two lists of names", denied, clienthello.Of(sni(goodName), sni("www.no.example")), 4096},
		{"an allowed name behind a zero byte", denied, clienthello.Of(sni("evil.example\x00.ok.example")), 4096},
		{"the server's address as its name", denied, clienthello.Of(sni(s.server.Addrs[0].String())), 4096},
		{"an allowed name behind 20 KiB", denied, clienthello.Of(padding(20<<10), sni(goodName)), 4096},
		{"HTTP in place of TLS", denied, []byte("GET / HTTP/1.1\r\nHost: " + goodName + "\r\n\r\n"), 4096},
		{"SMTP with STARTTLS in place of TLS", denied, append([]byte("EHLO client\r\nSTARTTLS\r\n"), clienthello.Of(sni(goodName))...), 4096},
	} {
		s.attack(t, result{"Server names", tt.attack, tt.expected, "Go"}, func(t *testing.T) {
			answer, got, err := s.says(t, server, tt.hello, tt.pieces)
			if tt.expected == same {
				if answer != "passed" || !bytes.Equal(got, tt.hello) {
					t.Errorf("answered %q, %v; the server got %d bytes of %d", answer, err, len(got), len(tt.hello))
				}
				return
			}
			if len(answer)+len(got) > 0 || !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
				t.Errorf("answered %q, %v; the server got %q", answer, err, got)
			}
		})
	}
	s.attack(t, result{"Server names", "an allowed name at a server that no rule allows", denied, "Go"}, func(t *testing.T) {
		answer, got, err := s.says(t, net.JoinHostPort(s.other.Addrs[0].String(), fmt.Sprint(tlsPassed)), clienthello.Of(sni(goodName)), 4096)
		if err == nil || len(answer)+len(got) > 0 {
			t.Errorf("answered %q; the server got %q", answer, got)
		}
	})
	s.attack(t, result{"Server names", "QUIC (datagrams to the port)", denied, "Go"}, s.quic)
	s.attack(t, result{"Server names", "a session ticket, with a name that is not allowed any more", denied, "Go"}, func(t *testing.T) {
		s.Publish(s.policy("*.later.example"))
		defer s.Publish(s.policy("*.ok.example"))
		ticket := clienthello.Extension{Kind: 35, Body: bytes.Repeat([]byte{3}, 128)} // a session ticket of TLS 1.2
		if answer, got, err := s.says(t, server, clienthello.Of(sni(goodName), ticket), 4096); err == nil || len(answer)+len(got) > 0 {
			t.Errorf("answered %q; the server got %q", answer, got)
		}
	})
}

// quic sends a datagram to the port of TLS.
func (s *tlsSuite) quic(t *testing.T) {
	var server net.PacketConn
	s.server.Do(func() (err error) { server, err = net.ListenPacket("udp", fmt.Sprintf(":%d", tlsPassed)); return err })
	defer server.Close()
	conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{}, "udp", net.JoinHostPort(s.server.Addrs[0].String(), fmt.Sprint(tlsPassed)))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.Write(append([]byte{0xc3, 0, 0, 0, 1}, make([]byte, 1195)...))
	server.SetReadDeadline(time.Now().Add(time.Second))
	if n, _, err := server.ReadFrom(make([]byte, 2048)); err == nil {
		t.Errorf("the server got %d bytes", n)
	}
}

// run runs a client in the client's pod.
func (s *tlsSuite) run(t *testing.T, name string, args ...string) string {
	t.Helper()
	var out []byte
	s.client.Do(func() error {
		out, _ = exec.CommandContext(t.Context(), "timeout", append([]string{"60", name}, args...)...).CombinedOutput() //nolint:gosec // as the test says
		return nil
	})
	return strings.TrimSpace(string(out))
}
