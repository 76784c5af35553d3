package attack

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// get asks for a path of the inspected port by name, with a header Host of its own if host is
// set, and returns the status and the body.
func (s *tlsSuite) get(t *testing.T, name, host, path string) (int, string, error) {
	t.Helper()
	pem, err := os.ReadFile(s.Path("issuer.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return node.Dial(ctx, s.client.NS, net.Dialer{}, "tcp", net.JoinHostPort(s.server.Addrs[0].String(), fmt.Sprint(tlsInside)))
	}}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+name+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = host
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func (s *tlsSuite) inside(t *testing.T) {
	for _, tt := range []struct {
		attack, expected, name, host, path string
		code                               int
	}{
		{"an allowed request, to a name that the certificate's star stands for", works, "api.issued.example", "", "/public", 200},
		{"a request that no rule allows", denied, "api.issued.example", "", "/secret", 403},
		{"a request for another host inside of an allowed name's connection (fronting)", denied, "api.issued.example", "www.no.example", "/public", 403},
		{"a server whose certificate is for another name", denied, "other.issued.example", "", "/public", 503},
		{"a server whose certificate is another authority's", denied, "stranger.issued.example", "", "/public", 503},
		{"a name that the issuer could sign for and no rule has", denied, "api.other.example", "", "/public", 0},
		{"a name with a label more than the certificate's star", denied, "a.api.issued.example", "", "/public", 0},
	} {
		s.attack(t, result{"Inside of TLS", tt.attack, tt.expected, "Go"}, func(t *testing.T) {
			code, body, err := s.get(t, tt.name, tt.host, tt.path)
			if code != tt.code || (err != nil) != (tt.code == 0) || tt.code != 200 && strings.HasPrefix(body, "served") {
				t.Errorf("%d %q, %v; want %d", code, body, err, tt.code)
			}
		})
	}
	s.attack(t, result{"Inside of TLS", "bytes that are not HTTP", denied, "Go"}, func(t *testing.T) {
		conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{}, "tcp", net.JoinHostPort(s.server.Addrs[0].String(), fmt.Sprint(tlsInside)))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		c := tls.Client(conn, &tls.Config{ServerName: "api.issued.example", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // what is inside is tried
		fmt.Fprintf(c, "EHLO client\r\nDATA\r\n\r\n")
		if answer, _ := io.ReadAll(c); strings.Contains(string(answer), "served") || !strings.HasPrefix(string(answer), "HTTP/1.1 4") && len(answer) > 0 {
			t.Errorf("answered %q", answer)
		}
	})
	s.attack(t, result{"Inside of TLS", "another CA that the issued certificate and its key make", denied, "Go"}, func(t *testing.T) {
		issued := s.Secrets[1]
		pair, err := tls.X509KeyPair(issued.Value, issued.Key)
		if err != nil {
			t.Fatal(err)
		}
		if pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign != 0 {
			t.Error("the certificate that nodes have can sign others")
		}
		for _, secret := range s.Secrets {
			if secret.ID != issued.ID && len(secret.Key) > 0 {
				t.Errorf("nodes get the key of %s", secret.ID)
			}
		}
	})
	s.attack(t, result{"Inside of TLS", "a rule whose certificate is not there", denied, "Go"}, func(t *testing.T) {
		secrets := s.Secrets
		s.Secrets = []policy.Secret{secrets[0]}
		s.Publish(s.policy("*.ok.example"))
		// What is taken away from Envoy goes when the new state is in the maps.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			code, body, err := s.get(t, "api.issued.example", "", "/public")
			if err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d %q", code, body)
			}
		}
		s.Secrets = secrets
		s.Publish(s.policy("*.ok.example"))
	})
}

// clients are programs as users have them, with the issuer as the only authority that they trust.
func (s *tlsSuite) clients(t *testing.T) {
	addr, ca := s.server.Addrs[0].String(), s.Path("issuer.pem")
	hosts := s.Path("hosts")
	if err := os.WriteFile(hosts, []byte(addr+" api.issued.example\n"), 0o644); err != nil { //nolint:gosec // names
		t.Fatal(err)
	}
	url := func(path string) string { return fmt.Sprintf("https://api.issued.example:%d%s", tlsInside, path) }
	curl := func(path string, more ...string) string {
		return s.run(t, "curl", append([]string{"-sS", "-o", "/dev/null", "-w", "%{http_code}", "--noproxy", "*", "--cacert", ca,
			"--resolve", fmt.Sprintf("api.issued.example:%d:%s", tlsInside, addr), url(path)}, more...)...)
	}
	for _, tt := range []struct {
		client string
		get    func(path string) string
	}{
		{"curl (HTTP/2)", func(path string) string { return curl(path) }},
		{"curl (HTTP/1.1, TLS 1.2)", func(path string) string { return curl(path, "--http1.1", "--tls-max", "1.2") }},
		{"Java's HttpClient", func(path string) string {
			return s.run(t, "java", "-Djdk.net.hosts.file="+hosts, "testdata/Get.java", ca, url(path))
		}},
		{"Python's urllib", func(path string) string {
			return s.run(t, "unshare", "--mount", "sh", "-c", `mount --bind "$1" /etc/hosts && exec python3 -c "$2" "$3" "$4"`, "sh", hosts, pythonGet, ca, url(path))
		}},
		{"openssl s_client", func(path string) string {
			out := s.run(t, "sh", "-c", `printf 'GET %s HTTP/1.1\r\nHost: api.issued.example\r\nConnection: close\r\n\r\n' "$1" |
				openssl s_client -quiet -verify_return_error -verify_hostname api.issued.example -servername api.issued.example -CAfile "$2" -connect "$3" -ign_eof`,
				"sh", path, ca, net.JoinHostPort(addr, fmt.Sprint(tlsInside)))
			_, after, _ := strings.Cut(out, "HTTP/1.1 ")
			return after[:min(3, len(after))] + strings.Repeat(out, 1-min(1, len(after)))
		}},
		{"Go's net/http", func(path string) string {
			code, _, err := s.get(t, "api.issued.example", "", path)
			if err != nil {
				return err.Error()
			}
			return fmt.Sprint(code)
		}},
	} {
		s.attack(t, result{"Clients that are inspected", tt.client + ": an allowed request, and one that is refused", works, "Go"}, func(t *testing.T) {
			if got := tt.get("/public"); got != "200" {
				t.Errorf("/public: %s", got)
			}
			if got := tt.get("/secret"); got != "403" {
				t.Errorf("/secret: %s", got)
			}
		})
	}
}

// pythonGet prints the status of a GET, trusting one authority.
const pythonGet = `
import ssl, sys, urllib.error, urllib.request
try:
    print(urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=sys.argv[1]))).open(sys.argv[2], timeout=20).status)
except urllib.error.HTTPError as e:
    print(e.code)
`
