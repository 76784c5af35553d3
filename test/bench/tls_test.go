package bench

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// A server of TLS has two ports: one with a rule without layer 7, and one with rules on server names.
const (
	tlsServer  = "10.244.1.3"
	tlsDirect  = tlsServer + ":8443"
	tlsPoliced = tlsServer + ":443"
	tlsName    = "www.bench.example"
)

// echoTLS answers each byte with itself.
func echoTLS(t *testing.T, b *bench, server *node.Pod) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tlsName}, DNSNames: []string{tlsName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	must(t, err)
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true}
	for _, port := range []string{":443", ":8443"} {
		l := tls.NewListener(b.Listen(server.NS, "0.0.0.0"+port), config)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					_, _ = io.Copy(c, c)
				}()
			}
		}()
	}
}

// namesPolicy lets the client connect to both ports, to one of them by name only.
func namesPolicy() policy.Policy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: "tls"}
	server := app("server")
	rule := func(i int, port uint16) policy.Rule {
		return policy.Rule{ID: policy.RuleID{Policy: ref, Path: fmt.Sprintf("spec.egress[%d]", i)}, Peers: []policy.Peer{{Selector: &server}},
			Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: port}}}
	}
	named := rule(1, 443)
	named.L7 = &policy.TLS{Rule: policy.TLSRule{ID: named.ID, Names: []policy.ServerName{"api.bench.example", "*.bench.example"}}}
	return policy.Policy{Ref: ref, UID: "tls", Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app("client"), Egress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{rule(0, 8443), named}},
	}}}
}

// TestTLS measures handshakes with rules on server names, and bytes on open connections, beside direct ones.
func TestTLS(t *testing.T) {
	rounds := 3
	if *full {
		rounds = 200
	}
	b := &bench{Node: node.New(t)}
	b.client = b.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	server := b.AddPod("server", tlsServer, policy.Labels{"k8s:app": "server"})
	echoTLS(t, b, server)
	b.Publish(namesPolicy())
	dial := func(addr, name string) (*tls.Conn, error) {
		c, err := node.Dial(t.Context(), b.client.NS, net.Dialer{}, "tcp", addr)
		if err != nil {
			return nil, err
		}
		c.SetDeadline(time.Now().Add(time.Minute))
		conn := tls.Client(c, &tls.Config{ServerName: name, InsecureSkipVerify: true}) //nolint:gosec // what is measured is the way
		if err := conn.Handshake(); err != nil {
			c.Close()
			return nil, err
		}
		return conn, nil
	}
	if c, err := dial(tlsPoliced, "other.example"); err == nil {
		c.Close()
		t.Error("a name that no rule allows is not refused: the run goes around the proxy")
	}
	handshake := func(addr string) func() error {
		return func() error {
			c, err := dial(addr, tlsName)
			if err != nil {
				return err
			}
			return c.Close()
		}
	}
	b.beside("connect, handshake, close", laps(t, rounds, 10, []lap{
		{"direct", handshake(tlsDirect)}, {"again", handshake(tlsDirect)}, {"by name", handshake(tlsPoliced)}}), "", "by name")
	bounce := func(addr string) func() error {
		c, err := dial(addr, tlsName)
		must(t, err)
		t.Cleanup(func() { c.Close() })
		one := make([]byte, 1)
		return func() error {
			c.SetDeadline(time.Now().Add(time.Minute))
			if _, err := c.Write(one); err != nil {
				return err
			}
			_, err := io.ReadFull(c, one)
			return err
		}
	}
	b.beside("a byte to the server and back", laps(t, rounds, 25, []lap{
		{"direct", bounce(tlsDirect)}, {"again", bounce(tlsDirect)}, {"by name", bounce(tlsPoliced)}}), "added ≤ 30 µs", "by name")
	table := b.table()
	t.Logf("\n%s", table)
	if *update {
		write(t, "server names", table)
	}
}
