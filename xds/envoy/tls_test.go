package envoy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// tlsEcho is a TLS server for any name that sends back what it gets.
func tlsEcho(t testing.TB) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "server"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}})
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	t.Cleanup(func() { l.Close(); served.Wait() })
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() { defer c.Close(); _, _ = io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

func tlsRule(path string, names ...policy.ServerName) policy.TLSRule {
	return policy.TLSRule{ID: ruleID(path), Names: names}
}

// dialTLS does a handshake for a name ("" sends none).
func dialTLS(addr, name string) (*tls.Conn, error) {
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{ServerName: name, InsecureSkipVerify: true}}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	conn, ok := c.(*tls.Conn)
	if !ok {
		return nil, errors.New("not TLS")
	}
	return conn, conn.SetDeadline(time.Now().Add(10 * time.Second))
}

// says sends a word and reads it back.
func says(c net.Conn) error {
	if _, err := io.WriteString(c, "word"); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

// TestServerNames compares Envoy with the oracle.
func TestServerNames(t *testing.T) {
	e := startEnvoy(t, tlsEcho(t))
	names := []policy.ServerName{"api.example.com", "*.one.example", "**.deep.example", "a*c.part.example", "*.*.two.example"}
	class := policy.Class{ID: "named", Direction: policy.Egress, Kind: policy.KindTLS, TLS: []policy.TLSRule{
		tlsRule("spec.egress[0]", names...), tlsRule("spec.egress[1]", "x.one.example", "api.example.com")}}
	open := class
	open.ID, open.AllowAll = "open", &policy.RuleID{Policy: ruleID("").Policy, Path: "spec.egress[9]"}
	audit := class
	audit.ID, audit.Audit = "audit", true
	addrs := e.apply(t, class, open, audit)
	time.Sleep(3 * logInterval) // apply's own connections are logged, too
	for len(e.events) > 0 {
		<-e.events
	}
	for _, name := range []string{
		"api.example.com", "API.Example.COM", "api.example.com.", "example.com", "xapi.example.com",
		"api.example.com.evil.example", "a.one.example", "x.one.example", "one.example", "a.b.one.example", "a.deep.example", "a.b.deep.example", "deep.example",
		"xdeep.example", "ac.part.example", "abc.part.example", "a.c.part.example", "abcd.part.example", "a.b.two.example", "b.two.example",
		"", "10.0.0.1", "a-_.one.example", strings.Repeat("a", 63) + ".one.example", "xn--bcher-kva.one.example",
	} {
		for _, c := range []policy.Class{class, open, audit} {
			want := c.DecideTLS(&policy.TLSRequest{ServerName: name})
			if name == "10.0.0.1" { // Go sends no address as a name, and no dot at the end
				want = c.DecideTLS(&policy.TLSRequest{})
			}
			conn, err := dialTLS(addrs[c.ID], name)
			if err == nil {
				err = says(conn)
				conn.Close()
			}
			if (err == nil) != (want.Verdict != policy.Denied) {
				t.Errorf("%s, %q: got %v, want verdict %d", c.ID, name, err, want.Verdict)
			}
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("%s, %q: refused with %v, want a reset", c.ID, name, err)
			}
			select {
			case ev := <-e.events:
				if ev.Verdict != want.Verdict || ev.Rule != want.Rule || ev.TLS == nil ||
					policy.NormalizeServerName(ev.TLS.ServerName) != policy.NormalizeServerName(strings.TrimPrefix(name, "10.0.0.1")) || ev.Direction != policy.Egress {
					t.Errorf("%s, %q: event %+v %+v, want %+v", c.ID, name, ev, ev.TLS, want)
				}
			case <-time.After(5 * time.Second):
				t.Fatalf("%s, %q: no event", c.ID, name)
			}
		}
	}
}

// TestServerNamesChange: an edited rule acts on new connections, cuts those of names that
// are gone, and leaves the others be.
func TestServerNamesChange(t *testing.T) {
	e := startEnvoy(t, tlsEcho(t))
	before := policy.Class{ID: "c", Kind: policy.KindTLS, TLS: []policy.TLSRule{tlsRule("spec.ingress[0]", "a.example", "b.example", "*.c.example")}}
	after := policy.Class{ID: "c", Kind: policy.KindTLS, TLS: []policy.TLSRule{tlsRule("spec.ingress[0]", "b.example", "d.example")}}
	addr := e.apply(t, before)["c"]
	conns := map[string]*tls.Conn{}
	for _, name := range []string{"a.example", "b.example", "x.c.example"} {
		c, err := dialTLS(addr, name)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := says(c); err != nil {
			t.Fatal(err)
		}
		conns[name] = c
	}
	start := time.Now()
	e.apply(t, after)
	for _, name := range []string{"a.example", "x.c.example"} {
		conns[name].SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := conns[name].Read(make([]byte, 1)); err == nil || errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
			t.Errorf("the connection to %s ended after %v with %v", name, time.Since(start), err)
		}
		if _, err := dialTLS(addr, name); err == nil {
			t.Errorf("%s is still allowed", name)
		}
	}
	t.Logf("cut after %v", time.Since(start))
	time.Sleep(1500 * time.Millisecond) // longer than the drain time
	if err := says(conns["b.example"]); err != nil {
		t.Errorf("a connection that is still allowed was cut: %v", err)
	}
	if c, err := dialTLS(addr, "d.example"); err != nil {
		t.Errorf("a new name: %v", err)
	} else {
		c.Close()
	}
}
