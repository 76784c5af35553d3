package ingest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/septum-dev/septum/policy"
)

// A rule that inspects with an issuer shows its clients a leaf: a certificate for the names of
// the rule, which the issuer in a Secret has signed. The leaf, its key and its serial number
// follow from the issuer, the rule, the names and the day alone: every replica of the operator
// issues the same one, and one that restarts changes nothing. The issuer's key goes nowhere.

const (
	// leafDay is how often a leaf is issued anew.
	leafDay = 24 * time.Hour
	// leafLife is how long one holds after the beginning of its day: longer than a day, for
	// nodes go on with it while the operator is away. It holds a day before, for clocks that are slow.
	leafLife = 7 * leafDay
	// maxIssuerRSA bounds what a signature costs, in bits.
	maxIssuerRSA = 4096
)

// issuer is an authority that signs leaves.
type issuer struct {
	cert *x509.Certificate
	key  crypto.Signer
	// seed is the private key's text, from which the leaves' keys follow.
	seed []byte
	// above are the certificates, in DER, that clients need between a leaf and what they trust.
	above [][]byte
}

// issuerFrom reads an authority's certificate, with those above it, and its key. Its errors
// have nothing of the key in them.
func issuerFrom(cert, key []byte) (*issuer, error) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s are not a certificate and its key: %w", entryCertificate, entryKey, err)
	}
	if wrong := wrongKey(pair.PrivateKey); wrong != "" {
		return nil, errors.New(entryKey + " " + wrong)
	}
	if k, is := pair.PrivateKey.(*rsa.PrivateKey); is && k.N.BitLen() > maxIssuerRSA {
		return nil, fmt.Errorf("%s is an RSA key of more than %d bits", entryKey, maxIssuerRSA)
	}
	out := &issuer{cert: pair.Leaf, seed: key}
	var ok bool
	if out.key, ok = pair.PrivateKey.(crypto.Signer); !ok {
		return nil, errors.New(entryKey + " cannot sign")
	}
	if !out.cert.BasicConstraintsValid || !out.cert.IsCA || out.cert.KeyUsage != 0 && out.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		return nil, errors.New(entryCertificate + " is not an authority's certificate (CA:TRUE, and keyCertSign among its uses)")
	}
	for i, der := range pair.Certificate {
		above, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of %s: %w", i+1, entryCertificate, err)
		}
		if string(above.RawIssuer) != string(above.RawSubject) { // one that signed itself is what clients trust
			out.above = append(out.above, der)
		}
	}
	return out, nil
}

// wrongTime says that an issuer does not hold now; "" if it does. One that begins within the
// hour does: its time is another clock's.
func wrongTime(cert *x509.Certificate, now time.Time) string {
	if !now.Add(time.Hour).Before(cert.NotBefore) && !now.After(cert.NotAfter) {
		return ""
	}
	return fmt.Sprintf("its certificate holds from %s to %s", cert.NotBefore.UTC().Format(time.RFC3339), cert.NotAfter.UTC().Format(time.RFC3339))
}

// leaf issues the certificate for the names, in the rule that id stands for, for the day of now.
func (i *issuer) leaf(id policy.SecretID, names []string, now time.Time) (policy.Secret, error) {
	day := now.UTC().Truncate(leafDay)
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Septum inspection"}, DNSNames: names,
		NotBefore: later(day.Add(-leafDay), i.cert.NotBefore), NotAfter: earlier(day.Add(leafLife), i.cert.NotAfter),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	about := sha256.Sum256(fmt.Appendf(nil, "%q %q %d %x", id, names, day.Unix(), i.cert.Raw))
	key, err := i.derived(about[:])
	if err != nil {
		return policy.Secret{}, err
	}
	template.SerialNumber = new(big.Int).SetBytes(about[:16])
	// Without a source of randomness signatures of ECDSA follow from what is signed (RFC 6979),
	// as those of RSA do.
	der, err := x509.CreateCertificate(nil, template, i.cert, key.Public(), i.key)
	if err != nil {
		return policy.Secret{}, fmt.Errorf("sign the certificate: %w", err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return policy.Secret{}, fmt.Errorf("read the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(i.cert)
	if _, err := made.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: template.NotBefore}); err != nil {
		return policy.Secret{}, fmt.Errorf("clients would refuse what it signs for these names: %w", err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return policy.Secret{}, fmt.Errorf("encode the key: %w", err)
	}
	out := policy.Secret{ID: id, Key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})}
	for _, der := range append([][]byte{der}, i.above...) {
		out.Value = append(out.Value, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return out, nil
}

// derived is a key that follows from the issuer's own, which cannot be found from it.
func (i *issuer) derived(about []byte) (*ecdsa.PrivateKey, error) {
	for try := uint32(0); ; try++ { // all texts of 32 bytes but one in 2³² are a key on the curve
		text, err := hkdf.Key(sha256.New, i.seed, about, string(binary.BigEndian.AppendUint32([]byte("septum inspection leaf "), try)), 32)
		if err != nil {
			return nil, fmt.Errorf("derive the key: %w", err)
		}
		if key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), text); err == nil || try == 8 {
			return key, err
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
