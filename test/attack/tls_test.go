package attack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

const (
	passedPort    = 443
	inspectedPort = 8443
)

// selfSigned is a certificate for the names that is its own authority, in PEM.
func selfSigned(t *testing.T, names ...string) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// tlsPart allows names on a port.
func tlsPart(rule *policy.Rule, tls policy.TLS) {
	tls.Rule.ID = rule.ID
	for i := range tls.HTTP {
		tls.HTTP[i].ID = policy.RuleID{Policy: rule.ID.Policy, Path: fmt.Sprintf("%s.http[%d]", rule.ID.Path, i)}
	}
	rule.L7 = &tls
}

// TestTLS sends openssl s_client and curl through a whole node: by server name, past the
// client's policy and the server's, and inside of TLS.
func TestTLS(t *testing.T) {
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	server := n.AddPod("server", "10.244.1.3", policy.Labels{"k8s:app": "server"})
	cert, key := selfSigned(t, "ok.example", "no.example", "in.example")
	shown, shownKey := selfSigned(t, "in.example", "wrong.example")
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []int{passedPort, inspectedPort} {
		l := tls.NewListener(n.Listen(server.NS, fmt.Sprintf("[::]:%d", port)), &tls.Config{Certificates: []tls.Certificate{pair}})
		srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			_, _ = io.WriteString(w, "from "+host)
		})}
		go srv.Serve(l) //nolint:errcheck // Close ends it
		t.Cleanup(func() { srv.Close() })
	}
	for name, data := range map[string][]byte{"server.pem": cert, "shown.pem": shown} {
		if err := os.WriteFile(n.Path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inspect := policy.TLS{
		Rule: policy.TLSRule{Names: []policy.ServerName{"in.example", "wrong.example"}, Inspect: policy.Inspection{Certificate: "certificate/shown", TrustedCA: "ca/server"}},
		HTTP: []policy.HTTPRule{getPublic()},
	}
	egress := newPolicy("egress", app("client")).to("server", tcp(passedPort)).to("server", tcp(inspectedPort))
	tlsPart(&egress.spec.Egress.Rules[0], policy.TLS{Rule: policy.TLSRule{Names: []policy.ServerName{"*.example"}}})
	tlsPart(&egress.spec.Egress.Rules[1], inspect)
	ingress := newPolicy("ingress", app("server")).from("client", tcp(passedPort)).from("client", tcp(inspectedPort))
	tlsPart(&ingress.spec.Ingress.Rules[0], policy.TLS{Rule: policy.TLSRule{Names: []policy.ServerName{"ok.example"}}})
	n.Secrets = []policy.Secret{{ID: "ca/server", Value: cert}, {ID: "certificate/shown", Value: shown, Key: shownKey}}
	n.Publish(newPolicy("before", app("client")).to("server", tcp(80)).policy())
	n.Publish(egress.policy(), ingress.policy())

	run := func(name string, args ...string) (string, error) {
		var out []byte
		var err error
		client.Do(func() error {
			cmd := exec.CommandContext(t.Context(), "timeout", append([]string{"20", name}, args...)...)
			out, err = cmd.CombinedOutput()
			return nil
		})
		return string(out), err
	}
	for _, addr := range server.Addrs {
		host := addr.String()
		if addr.Is6() {
			host = "[" + host + "]"
		}
		for _, tt := range []struct{ name, want string }{
			{"ok.example", "passed"}, {"OK.Example", "passed"}, {"no.example", "reset"}, {"ok.other", "reset"}, {"", "reset"},
		} {
			args := []string{"s_client", "-connect", fmt.Sprintf("%s:%d", host, passedPort), "-CAfile", n.Path("server.pem"), "-brief"}
			if tt.name == "" {
				args = append(args, "-noservername")
			} else {
				args = append(args, "-servername", tt.name)
			}
			out, _ := run("openssl", args...)
			got := "neither"
			switch {
			case strings.Contains(out, "CONNECTION ESTABLISHED"):
				got = "passed"
			case strings.Contains(out, "errno=104") || strings.Contains(out, "reset by peer"):
				got = "reset"
			}
			if got != tt.want {
				t.Errorf("openssl s_client for %q at %s: %s, want %s\n%s", tt.name, addr, got, tt.want, out)
			}
		}
		for _, tt := range []struct{ ca, name, path, want string }{
			{"server.pem", "ok.example:443", "/", "200 from " + client.Addrs[0].String()},
			{"shown.pem", "in.example:8443", "/public", "200 from " + client.Addrs[0].String()},
			{"shown.pem", "in.example:8443", "/secret", "403 Access denied\r\n"},
			{"shown.pem", "wrong.example:8443", "/public", "503 "},
			{"server.pem", "in.example:8443", "/public", "000 "}, // the server's own certificate is not shown
		} {
			want := tt.want
			if addr.Is6() {
				want = strings.Replace(want, client.Addrs[0].String(), client.Addrs[1].String(), 1)
			}
			name, port, _ := strings.Cut(tt.name, ":")
			out, _ := run("curl", "-sS", "--noproxy", "*", "--cacert", n.Path(tt.ca), "-w", "%{http_code} ",
				"--resolve", fmt.Sprintf("%s:%s:%s", name, port, host), "https://"+tt.name+tt.path)
			code := out[max(len(out)-4, 0):] // it is written last
			body := strings.TrimSuffix(out, code)
			if got := code + body; !strings.HasPrefix(got, want) {
				t.Errorf("curl https://%s%s at %s: %q, want %q", tt.name, tt.path, addr, got, want)
			}
		}
	}
}
