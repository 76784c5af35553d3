package envoy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// testCA signs certificates.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
	pool *x509.CertPool
}

func newTestCA(t testing.TB, name string) testCA {
	t.Helper()
	ca := testCA{pool: x509.NewCertPool()}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	ca.cert, ca.pem, ca.key = sign(t, template, nil, nil)
	ca.pool.AddCert(ca.cert)
	return ca
}

// sign makes a certificate; without a parent it signs itself.
func sign(t testing.TB, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, []byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	template.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<60))
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key
}

// leaf is a certificate for names, and its key, in PEM.
func (ca testCA) leaf(t testing.TB, names ...string) (cert, key []byte) {
	t.Helper()
	template := &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	_, cert, private := sign(t, template, ca.cert, ca.key)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func (ca testCA) pair(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(ca.leaf(t, names...))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// httpsServer says what it was asked.
func httpsServer(t testing.TB, config *tls.Config, h2 bool) string {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Proto+" "+r.TLS.ServerName+" "+r.URL.Path)
	}))
	srv.TLS, srv.EnableHTTP2 = config, h2
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// asks sends a request for https://name/path to an address. The error is that of TLS.
func asks(addr, name, path string, config *tls.Config, h2 bool) (int, string, *tls.ConnectionState, error) {
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: h2, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	res, err := client.Get("https://" + name + path)
	if err != nil {
		return 0, "", nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), res.TLS, err
}

// TestInspection: HTTP rules hold inside of TLS, the client sees the policy's certificate,
// the server is verified by name and authority, and a certificate changes on its own.
func TestInspection(t *testing.T) {
	shown, servers, others := newTestCA(t, "shown"), newTestCA(t, "servers"), newTestCA(t, "others")
	for _, h2 := range []bool{false, true} {
		e := startEnvoy(t, httpsServer(t, &tls.Config{Certificates: []tls.Certificate{servers.pair(t, "api.example", "deny.example")}}, h2))
		cert, key := shown.leaf(t, "api.example", "wrong.example", "deny.example", "pass.example", "gone.example")
		e.secrets = []policy.Secret{
			{ID: "ca/others", Value: others.pem},
			{ID: "ca/servers", Value: servers.pem},
			{ID: "certificate/shown", Value: cert, Key: key},
		}
		inspect := policy.Inspection{Certificate: "certificate/shown", TrustedCA: "ca/servers"}
		class := policy.Class{ID: "c", Kind: policy.KindTLS, Direction: policy.Egress, TLS: []policy.TLSRule{
			{ID: ruleID("0"), Names: []policy.ServerName{"api.example", "wrong.example"}, Inspect: inspect},
			{ID: ruleID("1"), Names: []policy.ServerName{"deny.example"}, Inspect: inspect},
			{ID: ruleID("2"), Names: []policy.ServerName{"other.example"}, Inspect: policy.Inspection{Certificate: "certificate/shown", TrustedCA: "ca/others"}},
			{ID: ruleID("3"), Names: []policy.ServerName{"gone.example"}, Inspect: policy.Inspection{Certificate: "certificate/missing"}},
			{ID: ruleID("4"), Names: []policy.ServerName{"pass.example", "gone.example"}},
		}, HTTP: []policy.HTTPRule{
			{ID: ruleID("0.http"), Names: []policy.ServerName{"api.example", "wrong.example"}, Path: exact("/data")},
			{ID: ruleID("1.http"), Names: []policy.ServerName{"deny.example"}, Path: exact("/other")},
			{ID: ruleID("2.http"), Names: []policy.ServerName{"other.example"}},
		}}
		addr := e.apply(t, class)["c"]
		time.Sleep(3 * logInterval) // apply's own connections are logged, too
		trusts := &tls.Config{RootCAs: shown.pool}
		for _, tt := range []struct {
			name, path string
			code       int // 0: no TLS
		}{
			{"api.example", "/data", 200}, {"api.example", "/other", 403},
			{"deny.example", "/data", 403}, {"deny.example", "/other", 200},
			{"wrong.example", "/data", 503}, // the server has no certificate for it
			{"gone.example", "/data", 0}, {"unknown.example", "/data", 0},
		} {
			for len(e.events) > 0 {
				<-e.events
			}
			code, body, state, err := asks(addr, tt.name, tt.path, trusts, h2)
			if code != tt.code || (err != nil) != (tt.code == 0) {
				t.Errorf("h2 %v: %s%s: got %d %q, %v; want %d", h2, tt.name, tt.path, code, body, err, tt.code)
				continue
			}
			proto := map[bool]string{true: "HTTP/2.0 ", false: "HTTP/1.1 "}[h2]
			if code == 200 && (body != proto+tt.name+" "+tt.path || state.ServerName != tt.name) {
				t.Errorf("h2 %v: the server says %q", h2, body)
			}
			want := class.DecideTLS(&policy.TLSRequest{ServerName: tt.name}).Verdict
			if want == policy.Redirected {
				want = class.DecideHTTP(policy.HTTPRequest{Method: "GET", Path: tt.path, Host: tt.name, ServerName: tt.name}).Verdict
			}
			if tt.name == "gone.example" {
				want = policy.Denied
			}
			if ev := <-e.events; ev.Verdict != want || ev.TLS == nil || ev.TLS.ServerName != tt.name || (ev.HTTP == nil) != (tt.code == 0) {
				t.Errorf("h2 %v: %s%s: event %+v %+v", h2, tt.name, tt.path, ev, ev.TLS)
			}
		}
		if _, _, _, err := asks(addr, "api.example", "/data", &tls.Config{RootCAs: servers.pool}, h2); err == nil {
			t.Error("the client was shown the server's own certificate")
		}
		// What is passed on is: the client sees the server's certificate, and its name does not match.
		if _, _, _, err := asks(addr, "pass.example", "/data", &tls.Config{RootCAs: servers.pool, ServerName: "pass.example", InsecureSkipVerify: true}, h2); err != nil {
			t.Errorf("passed on: %v", err)
		}

		conn, err := dialTLS(addr, "api.example")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		before, _ := e.setFor(t, class)
		rotated := newTestCA(t, "rotated")
		e.secrets[2].Value, e.secrets[2].Key = rotated.leaf(t, "api.example")
		after, _ := e.setFor(t, class)
		for i := range before.Listeners {
			if targetFor(Set{Listeners: before.Listeners}).version != targetFor(Set{Listeners: after.Listeners}).version {
				t.Errorf("listener %d changed with a certificate", i)
			}
		}
		e.apply(t, class)
		waitFor(t, "the new certificate", func() bool {
			code, _, _, err := asks(addr, "api.example", "/data", &tls.Config{RootCAs: rotated.pool}, h2)
			return err == nil && code == 200
		})
		if _, err := io.WriteString(conn, "GET /data HTTP/1.1\r\nHost: api.example\r\n\r\n"); err != nil {
			t.Errorf("an open connection did not live through the new certificate: %v", err)
		} else if _, err := io.ReadFull(conn, make([]byte, 12)); err != nil {
			t.Errorf("an open connection did not live through the new certificate: %v", err)
		}
		e.secrets[1].Value = others.pem
		e.apply(t, class)
		waitFor(t, "the server to be distrusted", func() bool {
			code, _, _, err := asks(addr, "api.example", "/data", &tls.Config{RootCAs: rotated.pool}, h2)
			return err == nil && code == 503
		})
	}
}

// TestInspectionLater: an Envoy that has a configuration takes secrets and what uses them.
func TestInspectionLater(t *testing.T) {
	ca := newTestCA(t, "ca")
	e := startEnvoy(t, httpsServer(t, &tls.Config{Certificates: []tls.Certificate{ca.pair(t, "api.example")}}, false))
	plain := policy.Class{ID: "p", Kind: policy.KindTLS, Direction: policy.Egress, TLS: []policy.TLSRule{{ID: ruleID("0"), Names: []policy.ServerName{"api.example"}}}}
	e.apply(t, plain)
	cert, key := ca.leaf(t, "api.example")
	e.secrets = []policy.Secret{{ID: "ca/servers", Value: ca.pem}, {ID: "certificate/shown", Value: cert, Key: key}}
	class := policy.Class{ID: "c", Kind: policy.KindTLS, Direction: policy.Egress, TLS: []policy.TLSRule{
		{ID: ruleID("1"), Names: []policy.ServerName{"api.example"}, Inspect: policy.Inspection{Certificate: "certificate/shown", TrustedCA: "ca/servers"}},
	}, HTTP: []policy.HTTPRule{{ID: ruleID("1.http"), Names: []policy.ServerName{"api.example"}, Path: exact("/data")}}}
	addr := e.apply(t, plain, class)["c"]
	if code, _, _, err := asks(addr, "api.example", "/data", &tls.Config{RootCAs: ca.pool}, false); err != nil || code != 200 {
		t.Errorf("got %d, %v", code, err)
	}
}

// TestNothingAllowed: Envoy takes a class whose only rule has no secret or no name, and refuses what comes to it.
func TestNothingAllowed(t *testing.T) {
	upstream, _ := listener(t)
	e := startEnvoy(t, upstream)
	addrs := e.apply(t,
		policy.Class{ID: "sealed", Kind: policy.KindTLS, Direction: policy.Egress, TLS: []policy.TLSRule{
			{ID: ruleID("0"), Names: []policy.ServerName{"api.example"}, Inspect: policy.Inspection{Certificate: "certificate/missing"}}}},
		policy.Class{ID: "nameless", Kind: policy.KindTLS, Direction: policy.Egress, TLS: []policy.TLSRule{{ID: ruleID("1")}}})
	for _, id := range []policy.ClassID{"sealed", "nameless"} {
		if answer, err := dialTLS(addrs[id], "api.example"); err == nil {
			answer.Close()
			t.Errorf("%s: the connection is taken", id)
		}
	}
}
