package xds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func request(t *testing.T) []byte {
	t.Helper()
	_, csr, err := certificateRequest()
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

// trusts says whether a node's certificate from one CA is good for a bundle.
func trusts(t *testing.T, bundle, chain []byte, now time.Time) bool {
	t.Helper()
	certs, err := parseCertificates(chain)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	_, err = certs[0].Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err == nil
}

// TestRotation lives two years of a cluster, an hour at a time: whatever was issued in
// the last day is trusted by today's bundle, and by yesterday's.
func TestRotation(t *testing.T) {
	ca, err := NewCA(epoch)
	if err != nil {
		t.Fatal(err)
	}
	type day struct{ bundle, leaf []byte }
	var yesterday day
	signers, most := 1, 0
	for now := epoch; now.Before(epoch.Add(2 * CALifetime)); now = now.Add(LeafLifetime) {
		before := ca.current.cert
		next, changed, err := ca.Rotate(now)
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			data, err := next.Data()
			if err != nil {
				t.Fatal(err)
			}
			if next, err = ParseCA(data); err != nil {
				t.Fatalf("%s: read back: %v", now, err)
			}
		}
		ca = next
		if !before.Equal(ca.current.cert) {
			signers++
		}
		leaf, err := ca.IssueNode("node1", request(t), now)
		if err != nil {
			t.Fatalf("%s: %v", now, err)
		}
		today := day{ca.Bundle(), leaf}
		most = max(most, bytes.Count(today.bundle, []byte("BEGIN")))
		if !trusts(t, today.bundle, today.leaf, now) {
			t.Fatalf("%s: today's certificate is not trusted today", now)
		}
		if yesterday.leaf != nil {
			if !trusts(t, today.bundle, yesterday.leaf, now.Add(-time.Hour)) {
				t.Fatalf("%s: yesterday's certificate is not trusted today", now)
			}
			if !trusts(t, yesterday.bundle, today.leaf, now) {
				t.Fatalf("%s: today's certificate is not trusted with yesterday's bundle", now)
			}
		}
		yesterday = today
	}
	if signers != 3 || most != 2 {
		t.Errorf("%d CAs signed and at most %d were trusted, want 3 and 2", signers, most)
	}
}

func TestRotateAfterAnAbsence(t *testing.T) {
	ca, err := NewCA(epoch)
	if err != nil {
		t.Fatal(err)
	}
	now := epoch.Add(CALifetime + time.Hour)
	if _, err := ca.IssueNode("node1", request(t), now); err == nil {
		t.Error("a CA that has ended still signs")
	}
	ca, changed, err := ca.Rotate(now)
	if err != nil || !changed {
		t.Fatalf("rotate: changed %v, error %v", changed, err)
	}
	leaf, err := ca.IssueNode("node1", request(t), now)
	if err != nil {
		t.Fatal(err)
	}
	if !trusts(t, ca.Bundle(), leaf, now) {
		t.Error("the new certificate is not trusted")
	}
}

func TestIssueNode(t *testing.T) {
	ca, err := NewCA(epoch)
	if err != nil {
		t.Fatal(err)
	}
	p384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsaKey, _ := rsa.GenerateKey(rand.Reader, 2048)
	csrOf := func(key any) []byte {
		csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
		if err != nil {
			t.Fatal(err)
		}
		return csr
	}
	forged := request(t)
	forged[len(forged)-1] ^= 1
	for name, c := range map[string]struct {
		csr []byte
		ok  bool
	}{
		"P-256": {request(t), true}, "P-384": {csrOf(p384), false}, "RSA": {csrOf(rsaKey), false},
		"no request": {nil, false}, "a wrong signature": {forged, false},
	} {
		chain, err := ca.IssueNode("node1", c.csr, epoch)
		if (err == nil) != c.ok {
			t.Errorf("%s: error %v", name, err)
		}
		if err != nil {
			continue
		}
		certs, err := parseCertificates(chain)
		if err != nil {
			t.Fatal(err)
		}
		if node, err := nodeOf(certs[0]); err != nil || node != "node1" {
			t.Errorf("%s: the certificate is of %q, %v", name, node, err)
		}
		if got := certs[0].NotAfter.Sub(epoch); got != LeafLifetime {
			t.Errorf("%s: lives %s", name, got)
		}
		if certs[0].IsCA {
			t.Errorf("%s: is a CA", name)
		}
	}
}

func TestParseCARefusesALeaf(t *testing.T) {
	ca, err := NewCA(epoch)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.issueServer([]string{"a"}, epoch)
	if err != nil {
		t.Fatal(err)
	}
	key, err := encodeKey(pair.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCA(map[string][]byte{KeyCertificate: encodeCertificates(pair.Leaf), KeyPrivate: key}); err == nil {
		t.Error("a server's certificate was taken for a CA")
	}
}
