package xds

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"
	"time"
)

// shake makes a connection and says who of the two refused it.
func shake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			err = conn.(*tls.Conn).Handshake()
			conn.Close()
		}
		done <- err
	}()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	errClient := tls.Client(conn, client).Handshake()
	if errClient != nil {
		conn.Close()
	}
	if errServer := <-done; errServer != nil {
		return errServer
	}
	return errClient
}

// nodeClient is a node's client with a certificate of the CA.
func nodeClient(t *testing.T, ca *CA, node string) *Client {
	t.Helper()
	chain, private := issued(t, ca, node)
	id, err := parseIdentity(storedIdentity{Key: string(private), Certificate: string(chain), Roots: string(ca.Bundle())}, node)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{config: ClientConfig{Now: time.Now, RootsFile: t.TempDir() + "/none"}}
	c.shown.Store(id)
	return c
}

func TestWhoReadsFlows(t *testing.T) {
	newCA := func() *CA {
		ca, err := NewCA(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return ca
	}
	ca, foreign := newCA(), newCA()
	flows := func(ca *CA) *FlowTLS {
		return &FlowTLS{Authority: func() *CA { return ca }, Names: []string{"relay.test"}, Now: time.Now}
	}
	operator, stranger := flows(ca), flows(foreign)
	node := nodeClient(t, ca, "node1")
	data := func(ca *CA) map[string][]byte {
		d, err := ca.ReaderData(time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	with := func(d map[string][]byte, name string) *tls.Config {
		pair, err := tls.X509KeyPair(d[KeyCertificate], d[KeyPrivate])
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ca.Bundle())
		return &tls.Config{RootCAs: pool, ServerName: name, Certificates: []tls.Certificate{pair}}
	}
	another := func(name string) *tls.Config {
		c := with(data(ca), name)
		c.Certificates = []tls.Certificate{node.shown.Load().pair}
		return c
	}
	nobody := func(name string) *tls.Config {
		c := with(data(ca), name)
		c.Certificates = nil
		return c
	}
	for name, tt := range map[string]struct {
		server, client *tls.Config
		good           bool
	}{
		"the operator reads a node":           {node.FlowTLS(), operator.Client("node1"), true},
		"a node that is another":              {node.FlowTLS(), operator.Client("node2"), false},
		"another operator":                    {node.FlowTLS(), stranger.Client("node1"), false},
		"nobody at a node":                    {node.FlowTLS(), nobody(NodeServerName("node1")), false},
		"a reader at a node":                  {node.FlowTLS(), with(data(ca), NodeServerName("node1")), false},
		"a node at a node":                    {node.FlowTLS(), another(NodeServerName("node1")), false},
		"a node without a certificate":        {(&Client{}).FlowTLS(), operator.Client("node1"), false},
		"a reader reads the operator":         {operator.Server(), with(data(ca), "relay.test"), true},
		"nobody at the operator":              {operator.Server(), nobody("relay.test"), false},
		"a node at the operator":              {operator.Server(), another("relay.test"), false},
		"a reader of another cluster":         {operator.Server(), with(data(foreign), "relay.test"), false},
		"an operator that has no authority":   {flows(nil).Server(), with(data(ca), "relay.test"), false},
		"a node in the place of the operator": {node.FlowTLS(), with(data(ca), "relay.test"), false},
		"the operator in the place of a node": {operator.Server(), operator.Client("node1"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := shake(t, tt.server, tt.client); (err == nil) != tt.good {
				t.Errorf("the hand-shake ends with %v", err)
			}
		})
	}
	d := data(ca)
	if !ca.ReaderGood(d, time.Now()) || foreign.ReaderGood(d, time.Now()) || ca.ReaderGood(d, time.Now().Add(LeafLifetime)) || ca.ReaderGood(nil, time.Now()) {
		t.Error("it is not known when the reader's certificate must be made anew")
	}
}
