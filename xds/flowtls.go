package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// The names of those who read flows: the operator reads the nodes', and readers read the
// operator's. Nodes have names of their own, and read nothing.
const (
	operatorPath = "/operator"
	readerPath   = "/flow-reader"
)

// NodeServerName is the DNS name in a node's certificate, by which its flows are read.
func NodeServerName(node string) string { return node + ".node." + trustDomain }

func roleURI(path string) *url.URL { return &url.URL{Scheme: "spiffe", Host: trustDomain, Path: path} }

// hasRole checks that the client's certificate, which has been verified, is the role's.
func hasRole(path string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.VerifiedChains) == 0 {
			return errors.New("a client certificate is needed")
		}
		leaf := state.VerifiedChains[0][0]
		if len(leaf.URIs) != 1 || leaf.URIs[0].String() != roleURI(path).String() {
			return fmt.Errorf("the client's certificate is not that of %s", roleURI(path))
		}
		return nil
	}
}

// issueClient makes a key and a certificate for a role.
func (ca *CA) issueClient(path string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the key of %s: %w", roleURI(path), err)
	}
	leaf, err := ca.issue(&x509.Certificate{URIs: []*url.URL{roleURI(path)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, key.Public(), now)
	if err != nil {
		return nil, fmt.Errorf("issue the certificate of %s: %w", roleURI(path), err)
	}
	return &tls.Certificate{Certificate: ca.chain(leaf), PrivateKey: key, Leaf: leaf}, nil
}

// ReaderData is the data of a Secret by which the operator's flows may be read: a
// certificate, its key and the certificates to trust.
func (ca *CA) ReaderData(now time.Time) (map[string][]byte, error) {
	pair, err := ca.issueClient(readerPath, now)
	if err != nil {
		return nil, err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the reader's key is of another kind")
	}
	private, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	var certs []*x509.Certificate
	for _, der := range pair.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("parse the reader's certificate: %w", err)
		}
		certs = append(certs, cert)
	}
	return map[string][]byte{KeyCertificate: encodeCertificates(certs...), KeyPrivate: private, KeyBundle: ca.Bundle()}, nil
}

// ReaderGood is true while the data of a reader's Secret need not be made anew.
func (ca *CA) ReaderGood(data map[string][]byte, now time.Time) bool {
	pair, err := tls.X509KeyPair(data[KeyCertificate], data[KeyPrivate])
	if err != nil || string(data[KeyBundle]) != string(ca.Bundle()) || !now.Before(renewAt(pair.Leaf)) {
		return false
	}
	return len(pair.Leaf.URIs) == 1 && pair.Leaf.URIs[0].String() == roleURI(readerPath).String() &&
		pair.Leaf.CheckSignatureFrom(ca.current.cert) == nil
}

// FlowTLS is the operator's part in the connections by which flows are read.
type FlowTLS struct {
	// Authority returns the authority in force; nil while there is none.
	Authority func() *CA
	// Names are the DNS names that readers reach the operator by.
	Names []string
	// Now is the clock.
	Now func() time.Time

	mu             sync.Mutex
	issuer         *x509.Certificate
	server, client *tls.Certificate
}

// pairs are the operator's certificates, made anew when they are due or the CA is another.
func (f *FlowTLS) pairs() (ca *CA, server, client *tls.Certificate, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	ca = f.Authority()
	if ca == nil {
		return nil, nil, nil, errors.New("there is no CA yet")
	}
	now := f.Now()
	if f.issuer == nil || !f.issuer.Equal(ca.current.cert) || !now.Before(renewAt(f.server.Leaf)) {
		server, err := ca.issueServer(slices.Clone(f.Names), now)
		if err != nil {
			return nil, nil, nil, err
		}
		client, err := ca.issueClient(operatorPath, now)
		if err != nil {
			return nil, nil, nil, err
		}
		f.issuer, f.server, f.client = ca.current.cert, server, client
	}
	return ca, f.server, f.client, nil
}

// Server is for the listener of the cluster's flows: only readers are let in.
func (f *FlowTLS) Server() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		ca, pair, _, err := f.pairs()
		if err != nil {
			return nil, err
		}
		return flowServer(*pair, ca.pool(), f.Now, readerPath), nil
	}}
}

// Client is for the connection to a node's flows: the node must show its own name.
func (f *FlowTLS) Client(node string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, ServerName: NodeServerName(node), Time: f.Now,
		// The roots may change while the connection's configuration lives: they are looked up for each handshake.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does what it skips
		VerifyConnection: func(state tls.ConnectionState) error {
			ca := f.Authority()
			if ca == nil || len(state.PeerCertificates) == 0 {
				return errors.New("there is no CA yet, or the node has no certificate")
			}
			between := x509.NewCertPool()
			for _, cert := range state.PeerCertificates[1:] {
				between.AddCert(cert)
			}
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{
				DNSName: NodeServerName(node), Roots: ca.pool(), Intermediates: between, CurrentTime: f.Now(),
				KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if err != nil {
				return fmt.Errorf("verify the certificate of node %q: %w", node, err)
			}
			return nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			_, _, pair, err := f.pairs()
			return pair, err
		},
	}
}

// FlowTLS is for the listener of the node's flows: only the operator is let in. It serves
// as soon as the node has a certificate.
func (c *Client) FlowTLS() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		shown := c.shown.Load()
		if shown == nil {
			return nil, errors.New("the node has no certificate yet")
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.trusted(shown)) {
			return nil, errors.New("the node trusts nobody yet")
		}
		return flowServer(shown.pair, pool, c.config.Now, operatorPath), nil
	}}
}

func flowServer(pair tls.Certificate, clients *x509.CertPool, now func() time.Time, role string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, Time: now,
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients, VerifyConnection: hasRole(role),
		SessionTicketsDisabled: true, // each connection shows a certificate that is good now
		NextProtos:             []string{"h2"},
	}
}
