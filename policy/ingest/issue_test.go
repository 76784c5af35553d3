package ingest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
)

const issuerPolicy = `
apiVersion: septum.dev/v1alpha1
kind: L7NetworkPolicy
metadata: {name: n, namespace: demo}
spec:
  endpointSelector: {}
  egress:
  - to: [{entities: [world]}]
    ports: [{protocol: TCP, port: 443}]
    tls:
      serverNames: [NAMES]
      inspect: {issuer: {name: issuer}, serverCA: {name: servers}}
`

// noon is when the tests are.
func noon() time.Time { return time.Date(2030, 5, 17, 12, 0, 0, 0, time.UTC) }

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// issuerSecret is an authority's; change may make it a bad one. It returns its certificate.
func issuerSecret(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) (corev1.Secret, *x509.Certificate) {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: noon().Add(-time.Hour), NotAfter: noon().Add(90 * 24 * time.Hour)}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "issuer"},
		Data: map[string][]byte{"tls.crt": text, "tls.key": keyPEM(t, key), "ca.crt": text}}, cert
}

func issueObjects(t *testing.T, secret corev1.Secret, names string) Objects {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(strings.ReplaceAll(issuerPolicy, "NAMES", names)), &u.Object); err != nil {
		t.Fatal(err)
	}
	servers := *secret.DeepCopy()
	servers.Name = "servers"
	return Objects{Policies: []unstructured.Unstructured{u}, Secrets: []corev1.Secret{secret, servers}, Time: noon()}
}

// leafOf is the certificate that was issued.
func leafOf(t *testing.T, s policy.Snapshot) (policy.SecretID, tls.Certificate) {
	t.Helper()
	for _, secret := range s.Secrets {
		if strings.HasPrefix(string(secret.ID), "issued/") {
			pair, err := tls.X509KeyPair(secret.Value, secret.Key)
			if err != nil {
				t.Fatal(err)
			}
			return secret.ID, pair
		}
	}
	t.Fatalf("nothing was issued: %+v", s.Secrets)
	return "", tls.Certificate{}
}

func ecKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestIssue: clients that trust the issuer take the certificate for the names of the rule, one
// label for a star, and no others; it can sign nothing; it is the same whoever issues it, and
// another on another day.
func TestIssue(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ECDSA": ecKey(t), "RSA": rsaKey} {
		secret, ca := issuerSecret(t, key, nil)
		o := issueObjects(t, secret, `api.example.com, "*.example.com", "a*.example.net"`)
		snapshot, problems := Snapshot(o)
		if len(problems) > 0 {
			t.Fatalf("%s: %+v", name, problems)
		}
		id, pair := leafOf(t, snapshot)
		roots := x509.NewCertPool()
		roots.AddCert(ca)
		for server, good := range map[string]bool{
			"api.example.com": true, "www.example.com": true, "a1.example.net": true,
			"example.com": false, "a.b.example.com": false, "www.example.org": false,
		} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: server, CurrentTime: noon()}); (err == nil) != good {
				t.Errorf("%s: a client that asks for %s says %v", name, server, err)
			}
		}
		if pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign != 0 || len(pair.Leaf.ExtKeyUsage) != 1 || pair.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
			t.Errorf("%s: the certificate can be used for more than servers: %+v", name, pair.Leaf)
		}
		if life := pair.Leaf.NotAfter.Sub(noon()); life > leafLife || life < 6*leafDay {
			t.Errorf("%s: holds for %s more", name, life)
		}
		for _, s := range snapshot.Secrets {
			if strings.Contains(string(s.Key), string(secret.Data["tls.key"])) || s.ID != id && len(s.Key) > 0 {
				t.Errorf("%s: the issuer's key leaves the operator with %s", name, s.ID)
			}
		}

		o.Leaves = &Leaves{}
		again, _ := Snapshot(o)
		o.Time = noon().Add(11 * time.Hour)
		later, _ := Snapshot(o)
		if !reflect.DeepEqual(snapshot, again) || !reflect.DeepEqual(snapshot, later) {
			t.Errorf("%s: another certificate on the same day", name)
		}
		o.Time = noon().Add(13 * time.Hour)
		next, _ := Snapshot(o)
		nextID, nextPair := leafOf(t, next)
		if nextID != id || nextPair.Leaf.Equal(pair.Leaf) || nextPair.PrivateKey.(*ecdsa.PrivateKey).Equal(pair.PrivateKey) {
			t.Errorf("%s: no other certificate and key the next day", name)
		}
		o = issueObjects(t, secret, "api.example.com, other.example.com")
		edited, _ := Snapshot(o)
		if editedID, editedPair := leafOf(t, edited); editedID != id || editedPair.Leaf.Equal(pair.Leaf) {
			t.Errorf("%s: other names make %s of %s", name, editedID, id)
		}
	}
}

// TestIssueBelow: an issuer below another is shown with it, and a certificate never outlives it.
func TestIssueBelow(t *testing.T) {
	rootKey, key := ecKey(t), ecKey(t)
	_, root := issuerSecret(t, rootKey, nil)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "below"}, IsCA: true, BasicConstraintsValid: true,
		MaxPathLenZero: true, PermittedDNSDomains: []string{"example.com"}, NotBefore: noon(), NotAfter: noon().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, root, key.Public(), rootKey)
	if err != nil {
		t.Fatal(err)
	}
	secret, _ := issuerSecret(t, rootKey, nil)
	secret.Data["tls.crt"] = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), secret.Data["ca.crt"]...)
	secret.Data["tls.key"] = keyPEM(t, key)
	snapshot, problems := Snapshot(issueObjects(t, secret, `"*.example.com"`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	_, pair := leafOf(t, snapshot)
	if len(pair.Certificate) != 2 || !pair.Leaf.NotAfter.Equal(noon().Add(time.Hour)) {
		t.Errorf("%d certificates, until %s", len(pair.Certificate), pair.Leaf.NotAfter)
	}
	if _, problems := Snapshot(issueObjects(t, secret, "www.example.org")); len(problems) != 1 || !strings.Contains(problems[0].Message, "clients would refuse") {
		t.Errorf("a name that the issuer may not sign: %+v", problems)
	}
}

// TestIssueWrong: what cannot issue closes the rule, and says why without the key.
func TestIssueWrong(t *testing.T) {
	key := ecKey(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key    crypto.Signer
		change func(*x509.Certificate)
		names  string
		edit   func(corev1.Secret)
		want   string
	}{
		"no authority": {key: key, change: func(c *x509.Certificate) { c.IsCA = false }, want: "is not an authority's certificate"},
		"no signing":   {key: key, change: func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageDigitalSignature }, want: "is not an authority's certificate"},
		"expired":      {key: key, change: func(c *x509.Certificate) { c.NotAfter = noon().Add(-time.Minute) }, want: "its certificate holds from 2030-05-17T11:00:00Z to 2030-05-17T11:59:00Z"},
		"not yet":      {key: key, change: func(c *x509.Certificate) { c.NotBefore = noon().Add(2 * time.Hour) }, want: "its certificate holds from"},
		"small":        {key: small, want: "is an RSA key of less than 2048 bits"},
		"no key":       {key: key, edit: func(s corev1.Secret) { delete(s.Data, "tls.key") }, want: "it has no tls.crt and tls.key"},
		"other key":    {key: key, edit: func(s corev1.Secret) { s.Data["tls.key"] = keyPEM(t, small) }, want: "are not a certificate and its key"},
		"no text":      {key: key, edit: func(s corev1.Secret) { s.Data["tls.crt"] = []byte("text") }, want: "are not a certificate and its key"},
		"many labels":  {key: key, names: `"**.example.com"`, want: "clients take no certificate for"},
		"star inside":  {key: key, names: `"a.*.example.com"`, want: "clients take no certificate for"},
		"a whole zone": {key: key, names: `"*.com"`, want: "clients take no certificate for"},
	} {
		secret, _ := issuerSecret(t, tt.key, tt.change)
		if tt.edit != nil {
			tt.edit(secret)
		}
		if tt.names == "" {
			tt.names = "a.example.com"
		}
		snapshot, problems := Snapshot(issueObjects(t, secret, tt.names))
		var found []policy.Problem
		for _, p := range problems {
			if strings.HasPrefix(p.Path, "spec.egress[0].tls.inspect.issuer") {
				found = append(found, p)
			}
		}
		if len(found) != 1 || !strings.Contains(found[0].Message, tt.want) {
			t.Errorf("%s: %+v", name, problems)
		}
		for _, s := range snapshot.Secrets {
			if strings.HasPrefix(string(s.ID), "issued/") {
				t.Errorf("%s: %s was issued", name, s.ID)
			}
		}
		for _, r := range snapshot.Policies[0].Specs[0].Egress.Rules {
			t.Errorf("%s: the rule is still there: %+v", name, r)
		}
	}
}

// BenchmarkIssue compares a compile whose 256 certificates were issued before with one that
// issues them, as a ratio.
func BenchmarkIssue(b *testing.B) {
	t := &testing.T{}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		b.Fatal(err)
	}
	secret, _ := issuerSecret(t, key, nil)
	o := issueObjects(t, secret, "a.example.com")
	rules, _, _ := unstructured.NestedSlice(o.Policies[0].Object, "spec", "egress")
	for len(rules) < 256 {
		rules = append(rules, rules[0])
	}
	if err := unstructured.SetNestedSlice(o.Policies[0].Object, rules, "spec", "egress"); err != nil {
		b.Fatal(err)
	}
	took := func(leaves *Leaves) time.Duration {
		o.Leaves = leaves
		began := time.Now()
		Snapshot(o)
		return time.Since(began)
	}
	kept := &Leaves{}
	took(kept)
	var with, without time.Duration
	for b.Loop() {
		with, without = with+took(kept), without+took(nil)
	}
	b.ReportMetric(with.Seconds()/without.Seconds(), "kept/issued")
}
