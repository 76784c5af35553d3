package xds

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

const identityFile = "identity.json"

// identity is a node's key and certificate, and the roots that came with it.
type identity struct {
	pair  tls.Certificate
	roots []byte
}

// storedIdentity is an identity on disk. All is PEM.
type storedIdentity struct {
	Key         string `json:"key"`
	Certificate string `json:"certificate"`
	Roots       string `json:"roots"`
}

// certificateRequest makes a new key and a request for its certificate, in DER.
func certificateRequest() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make the node's key: %w", err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make the certificate request: %w", err)
	}
	return key, csr, nil
}

// parseIdentity checks that key and certificate belong together and to that node.
func parseIdentity(stored storedIdentity, node string) (*identity, error) {
	pair, err := tls.X509KeyPair([]byte(stored.Certificate), []byte(stored.Key))
	if err != nil {
		return nil, fmt.Errorf("parse the node's certificate: %w", err)
	}
	got, err := nodeOf(pair.Leaf)
	if err != nil {
		return nil, err
	}
	if got != node {
		return nil, fmt.Errorf("the certificate is node %q's, not %q's", got, node)
	}
	return &identity{pair: pair, roots: []byte(stored.Roots)}, nil
}

func loadIdentity(dir, node string) (*identity, error) {
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if err != nil {
		return nil, fmt.Errorf("load the node's certificate: %w", err)
	}
	var stored storedIdentity
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("load the node's certificate: %w", err)
	}
	return parseIdentity(stored, node)
}

func saveIdentity(dir string, stored storedIdentity) error {
	text, err := json.Marshal(stored)
	if err != nil {
		return fmt.Errorf("save the node's certificate: %w", err)
	}
	if err := writeFile(filepath.Join(dir, identityFile), text); err != nil {
		return fmt.Errorf("save the node's certificate: %w", err)
	}
	return nil
}

// good says that the certificate can be used now, with an operator that trusts these roots.
func (i *identity) good(roots []byte, now time.Time) error {
	if i == nil {
		return errors.New("there is no certificate yet")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	intermediates := x509.NewCertPool()
	for _, der := range i.pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			intermediates.AddCert(cert)
		}
	}
	_, err := i.pair.Leaf.Verify(x509.VerifyOptions{
		Roots: pool, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

// due says that a new certificate is wanted although the old one is still good: also where
// it comes from an operator that did not let nodes serve flows.
func (i *identity) due(roots []byte, now time.Time) bool {
	return !now.Before(renewAt(i.pair.Leaf)) || !bytes.Equal(i.roots, roots) || len(i.pair.Leaf.DNSNames) == 0
}

// writeFile replaces a file whole or not at all, readable by its owner only.
func writeFile(path string, data []byte) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once it has been renamed
	_, errWrite := file.Write(data)
	if err := errors.Join(errWrite, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
