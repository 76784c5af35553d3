//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))}
}

// leaf is a certificate for names, and its key, in PEM.
func (a authority) leaf(t *testing.T, names ...string) (cert, private string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// secret is a Secret with a certificate for names, and with authorities, as cert-manager makes it.
func (a authority) secret(t *testing.T, name, authorities string, names ...string) string {
	t.Helper()
	cert, key := a.leaf(t, names...)
	var b strings.Builder
	fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: demo}\ntype: kubernetes.io/tls\nstringData:\n", name)
	for file, text := range map[string]string{"tls.crt": cert, "tls.key": key, "ca.crt": authorities} {
		fmt.Fprintf(&b, "  %s: |\n    %s\n", file, strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    "))
	}
	return b.String()
}

// readable lets the operator read the Secrets, by hand as docs/tls.md says.
const readable = `---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: septum-policy-secrets, namespace: demo}
rules:
- {apiGroups: [""], resources: [secrets], resourceNames: [web-tls, shown-to-clients, trusted-servers], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: septum-policy-secrets, namespace: demo}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: septum-policy-secrets}
subjects:
- {kind: ServiceAccount, name: septum-operator, namespace: septum-system}
`

// web is an HTTPS server with the certificate of Secret web-tls.
const web = `---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: demo}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {kubernetes.io/hostname: node1}
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: app
        image: septum-demo:dev
        imagePullPolicy: Never
        args: [serve, -listen, ":8443", -cert, /tls/tls.crt, -key, /tls/tls.key]
        ports: [{name: https, containerPort: 8443}]
        readinessProbe: {httpGet: {path: /healthz, port: https, scheme: HTTPS}, periodSeconds: 1}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: tls, mountPath: /tls, readOnly: true}]
      volumes: [{name: tls, secret: {secretName: web-tls}}]
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: demo}
spec:
  selector: {app: web}
  ports: [{name: https, port: 443, targetPort: https}]
`

// trusted is a request of a client that trusts these authorities, and what it prints.
func (c cluster) trusted(from, authorities, url string) string {
	return c.app(from, authorities, "get", "-timeout", "3s", "-ca", "/dev/stdin", url)
}

func (c cluster) prints(t *testing.T, limit time.Duration, from, authorities, url, want string) {
	t.Helper()
	within(t, limit, func() string {
		if got := c.trusted(from, authorities, url); !strings.HasPrefix(got, want) {
			return fmt.Sprintf("%s %s: want %q, got %q", from, url, want, got)
		}
		return ""
	})
}

// TestHTTPSBetweenPods: rules on requests to an HTTPS server, with its own certificate, which
// changes while everything runs on.
func TestHTTPSBetweenPods(t *testing.T) {
	c := here()
	c.clear(t)
	names := []string{"web", "web.demo", "web.demo.svc", "web.demo.svc.cluster.local"}
	first, second := newAuthority(t, "first"), newAuthority(t, "second")
	c.create(t, readable+first.secret(t, "web-tls", first.pem, names...)+web)
	c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/web", "--timeout=90s")
	c.prints(t, 30*time.Second, "other-app", first.pem, "https://web.demo.svc/admin", "200 ")

	c.apply(t, "l7np.https-between-pods", c.sample(t, "https-between-pods.yaml"))
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		c.prints(t, 20*time.Second, from, first.pem, "https://web.demo.svc/public/", "200 ")
		if got := c.trusted(from, first.pem, "https://web.demo.svc/public/"); !c.isOwn(t, from, got) {
			t.Errorf("%s: the server saw another client: %q", from, got)
		}
		c.prints(t, 20*time.Second, from, first.pem, "https://web/admin", "403 Access denied")
		c.printed(t, []line{{from, []string{"get", "-connect", "web:443", "https://other.demo.svc/public/"}, "no answer: connection reset"}})
	}
	c.prints(t, 20*time.Second, "other-app", first.pem, "https://web.demo.svc/public/", "no answer: timed out")

	// A new authority beside the old one, and a certificate of the new: the server itself goes on
	// with the old certificate until the kubelet brings the new one.
	proxies := func() string {
		return c.kubectl(t, "-n", "septum-system", "get", "pods", "-l", "app.kubernetes.io/component=proxy", "-o",
			"jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount} {.status.containerStatuses[*].containerID}{end}")
	}
	before := proxies()
	if out, err := c.tool(second.secret(t, "web-tls", first.pem+second.pem, names...), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("change the Secret: %v\n%s", err, out)
	}
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		c.prints(t, 40*time.Second, from, second.pem, "https://web.demo.svc/public/", "200 ")
		c.prints(t, 20*time.Second, from, second.pem, "https://web.demo.svc/admin", "403 Access denied")
	}
	if after := proxies(); after != before {
		t.Errorf("a certificate changed and the proxies were started anew:\n%s\n%s", before, after)
	}
	// Without its Secret the rule is closed, and the policy says so.
	c.kubectl(t, "-n", "demo", "delete", "secret", "web-tls")
	within(t, 40*time.Second, func() string {
		out := c.kubectl(t, "-n", "demo", "get", "l7networkpolicy", "https-between-pods", "-o", `jsonpath={.status.conditions[?(@.type=="ResolvedRefs")].status}`)
		if out != "False" {
			return "ResolvedRefs is " + out
		}
		return ""
	})
	c.prints(t, 20*time.Second, "frontend-app", second.pem, "https://web.demo.svc/public/", "no answer")
	if out, err := c.tool(second.secret(t, "web-tls", second.pem, names...), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("make the Secret again: %v\n%s", err, out)
	}
}

// TestInspectEgress: what is inside of TLS to the world, by name; the server is verified.
func TestInspectEgress(t *testing.T) {
	c := here()
	c.clear(t)
	shown, servers := newAuthority(t, "shown"), newAuthority(t, "servers")
	c.create(t, readable+shown.secret(t, "shown-to-clients", shown.pem, "api.example.com")+
		servers.secret(t, "trusted-servers", servers.pem, "unused"))
	c.apply(t, "cnp.inspect-egress", c.sample(t, "inspect-egress.yaml"))
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		// The demo's server shows a certificate of nobody's: it gets no request.
		c.prints(t, 30*time.Second, from, shown.pem, "https://api.example.com/data", "503 ")
		c.prints(t, 20*time.Second, from, shown.pem, "https://api.example.com/other", "403 Access denied")
		c.prints(t, 20*time.Second, from, shown.pem, "https://www.example.com/data", "no answer: timed out")
	}
	// Now it has one of an authority that the policy trusts.
	program, plain := filepath.Join(c.root, "build/bin/septum-demo"), []string{"serve", "-listen", ":80,:443"}
	cert, key := servers.leaf(t, "api.example.com")
	dir := t.TempDir()
	for name, text := range map[string]string{"crt": cert, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	serve := func(more ...string) {
		t.Helper()
		if out, err := c.tool("", append(append([]string{"world", program}, plain...), more...)...); err != nil {
			t.Fatalf("serve the world: %v\n%s", err, out)
		}
	}
	t.Cleanup(func() { serve() })
	serve("-cert", filepath.Join(dir, "crt"), "-key", filepath.Join(dir, "key"))
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		c.prints(t, 30*time.Second, from, shown.pem, "https://api.example.com/data", "200 ")
		c.prints(t, 20*time.Second, from, shown.pem, "https://api.example.com/other", "403 Access denied")
		if got := c.trusted(from, servers.pem, "https://api.example.com/data"); !strings.HasPrefix(got, "no answer") {
			t.Errorf("%s was shown the server's own certificate: %q", from, got)
		}
	}
}
