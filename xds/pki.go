package xds

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"time"
)

// How long certificates live. Each is replaced when two thirds of its life are over.
const (
	CALifetime   = 365 * 24 * time.Hour
	LeafLifetime = 24 * time.Hour
	// caOverlap is how long a new CA is trusted before it signs: until then every leaf
	// has been renewed once, and with it every node has got the new bundle.
	caOverlap = 2 * LeafLifetime
	// clockSkew is how far a node's clock may be behind.
	clockSkew = 10 * time.Minute
)

// The keys of a CA's Secret; the first three are those of a Kubernetes TLS secret.
const (
	KeyCertificate = "tls.crt"
	KeyPrivate     = "tls.key"
	KeyBundle      = "ca.crt"
	keyNextCert    = "next.crt"
	keyNextPrivate = "next.key"
)

// CA issues the certificates of the control plane. It is a value: [CA.Rotate] returns
// another one. While it is rotated its bundle holds the old and the new certificate.
type CA struct {
	current authority
	// next is trusted already but does not sign yet.
	next *authority
	// roots are trusted besides.
	roots []*x509.Certificate
}

type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewCA makes a CA with a new key.
func NewCA(now time.Time) (*CA, error) {
	a, err := newAuthority(now)
	if err != nil {
		return nil, err
	}
	return &CA{current: *a}, nil
}

func newAuthority(now time.Time) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the CA's key: %w", err)
	}
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "septum-ca " + now.UTC().Format("2006-01-02T15:04:05Z")},
		NotBefore: now.Add(-clockSkew), NotAfter: now.Add(CALifetime),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make the CA's certificate: %w", err)
	}
	return &authority{cert: cert, key: key}, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// ParseCA reads what [CA.Data] wrote, or a CA's secret as cert-manager writes it.
func ParseCA(data map[string][]byte) (*CA, error) {
	current, err := parseAuthority(data[KeyCertificate], data[KeyPrivate])
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", KeyCertificate, KeyPrivate, err)
	}
	ca := &CA{current: *current}
	if len(data[keyNextCert]) > 0 {
		if ca.next, err = parseAuthority(data[keyNextCert], data[keyNextPrivate]); err != nil {
			return nil, fmt.Errorf("%s, %s: %w", keyNextCert, keyNextPrivate, err)
		}
	}
	roots, err := parseCertificates(data[KeyBundle])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeyBundle, err)
	}
	for _, root := range roots {
		if !root.Equal(ca.current.cert) && (ca.next == nil || !root.Equal(ca.next.cert)) {
			ca.roots = append(ca.roots, root)
		}
	}
	return ca, nil
}

func parseAuthority(certPEM, keyPEM []byte) (*authority, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key cannot sign")
	}
	if !pair.Leaf.IsCA || pair.Leaf.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New("the certificate is not a CA's")
	}
	return &authority{cert: pair.Leaf, key: key}, nil
}

// Data is the CA as a Secret's data.
func (ca *CA) Data() (map[string][]byte, error) {
	data := map[string][]byte{KeyCertificate: encodeCertificates(ca.current.cert), KeyBundle: ca.Bundle()}
	var err error
	if data[KeyPrivate], err = encodeKey(ca.current.key); err != nil {
		return nil, err
	}
	if ca.next != nil {
		data[keyNextCert] = encodeCertificates(ca.next.cert)
		if data[keyNextPrivate], err = encodeKey(ca.next.key); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// Bundle is every certificate to trust, in PEM.
func (ca *CA) Bundle() []byte { return encodeCertificates(ca.trusted()...) }

func (ca *CA) trusted() []*x509.Certificate {
	out := []*x509.Certificate{ca.current.cert}
	if ca.next != nil {
		out = append(out, ca.next.cert)
	}
	return append(out, ca.roots...)
}

func (ca *CA) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, cert := range ca.trusted() {
		pool.AddCert(cert)
	}
	return pool
}

// Rotate returns the CA as it must be at that time, and whether it changed: after two
// thirds of its life a new one is trusted, after the overlap the new one signs, and the
// old one is trusted until it ends.
func (ca *CA) Rotate(now time.Time) (*CA, bool, error) {
	out, changed := &CA{current: ca.current, next: ca.next}, false
	for _, root := range ca.roots {
		if now.After(root.NotAfter) {
			changed = true
			continue
		}
		out.roots = append(out.roots, root)
	}
	due := renewAt(ca.current.cert)
	if out.next == nil && !now.Before(due) {
		next, err := newAuthority(now)
		if err != nil {
			return nil, false, err
		}
		out.next, changed = next, true
	}
	// An authority that has ended (the operator was away) must not sign for the overlap.
	if out.next != nil && (now.After(out.next.cert.NotBefore.Add(clockSkew+caOverlap)) || now.After(ca.current.cert.NotAfter)) {
		if !now.After(ca.current.cert.NotAfter) {
			out.roots = append(out.roots, ca.current.cert)
		}
		out.current, out.next, changed = *out.next, nil, true
	}
	return out, changed, nil
}

// issueServer makes the operator's own certificate, valid for these DNS names.
func (ca *CA) issueServer(names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the server's key: %w", err)
	}
	leaf, err := ca.issue(&x509.Certificate{DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key.Public(), now)
	if err != nil {
		return nil, fmt.Errorf("issue the server's certificate: %w", err)
	}
	return &tls.Certificate{Certificate: ca.chain(leaf), PrivateKey: key, Leaf: leaf}, nil
}

// IssueNode signs a node's request (PKCS #10, DER) and returns the chain in PEM. The
// names in the request are ignored.
func (ca *CA) IssueNode(node string, request []byte, now time.Time) ([]byte, error) {
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("check the certificate request: %w", err)
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the certificate request's key is not ECDSA P-256")
	}
	leaf, err := ca.issue(&x509.Certificate{
		URIs: []*url.URL{nodeURI(node)}, DNSNames: []string{NodeServerName(node)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, csr.PublicKey, now)
	if err != nil {
		return nil, fmt.Errorf("issue the certificate of node %q: %w", node, err)
	}
	var out []byte
	for _, der := range ca.chain(leaf) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out, nil
}

func (ca *CA) issue(template *x509.Certificate, public crypto.PublicKey, now time.Time) (*x509.Certificate, error) {
	template.NotBefore, template.NotAfter = now.Add(-clockSkew), now.Add(LeafLifetime)
	if template.NotAfter.After(ca.current.cert.NotAfter) {
		template.NotAfter = ca.current.cert.NotAfter
	}
	if now.After(template.NotAfter) {
		return nil, errors.New("the CA's certificate has expired")
	}
	template.KeyUsage, template.BasicConstraintsValid = x509.KeyUsageDigitalSignature, true
	return sign(template, ca.current.cert, public, ca.current.key)
}

// chain is the leaf, and the CA itself where it is not a root.
func (ca *CA) chain(leaf *x509.Certificate) [][]byte {
	out := [][]byte{leaf.Raw}
	if !bytes.Equal(ca.current.cert.RawIssuer, ca.current.cert.RawSubject) {
		out = append(out, ca.current.cert.Raw)
	}
	return out
}

// The name that a node has in its certificate: spiffe://septum.dev/node/<name>.
const (
	trustDomain = "septum.dev"
	nodePath    = "/node/"
)

func nodeURI(node string) *url.URL {
	return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: nodePath + node}
}

// nodeOf returns the node that a certificate was issued to.
func nodeOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) != 1 {
		return "", fmt.Errorf("the certificate has %d URIs, not one", len(cert.URIs))
	}
	uri := cert.URIs[0]
	node, ok := strings.CutPrefix(uri.Path, nodePath)
	if !ok || node == "" || strings.Contains(node, "/") || uri.String() != nodeURI(node).String() {
		return "", errors.New("the certificate's URI is not a node's")
	}
	return node, nil
}

// renewAt is when two thirds of a certificate's life are over.
func renewAt(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) * 2 / 3)
}

func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate: %w", err)
		}
		out = append(out, cert)
	}
	return out, nil
}

func encodeCertificates(certs ...*x509.Certificate) []byte {
	var out []byte
	for _, cert := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	return out
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("marshal key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
