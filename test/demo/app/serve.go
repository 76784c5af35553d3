package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// service is what serve offers. Each of the addresses of Listen answers HTTP/1.1 and HTTP/2,
// with TLS or without, DNS over TCP, and Kafka, as the client's first bytes say; those of DNS
// answer DNS over UDP. Commas divide addresses.
type service struct {
	listen, dns string
	// cert and key are files, read for each connection so that they can change; without them
	// the server shows a certificate that it has made for itself.
	cert, key string

	zone zone
}

// serve serves until ctx is done or one of the addresses cannot be served.
func (s *service) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host's name: %w", err)
	}
	config, err := s.tls()
	if err != nil {
		return err
	}
	var serving []func() error
	for _, addr := range addresses(s.listen) {
		serving = append(serving, func() error { return s.serveTCP(ctx, addr, config, s.seen(name)) })
	}
	for _, addr := range addresses(s.dns) {
		serving = append(serving, func() error { return s.zone.serveUDP(ctx, addr) })
	}
	served := make(chan error, len(serving))
	for _, one := range serving {
		go func() { served <- one() }()
	}
	var errs []error
	for range serving {
		errs = append(errs, <-served)
		cancel()
	}
	return errors.Join(errs...)
}

func addresses(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

func (s *service) serveTCP(ctx context.Context, addr string, config *tls.Config, handler http.Handler) error {
	lis, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	sorted := &sorted{Listener: lis, tls: config, dns: &s.zone, conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: handler, Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { server.Close() })()
	go sorted.sort()
	if err := server.Serve(sorted); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// sorted is a listener whose connections of HTTP are accepted, below TLS where they have it;
// those of DNS and Kafka are answered.
type sorted struct {
	net.Listener
	tls    *tls.Config
	dns    *zone
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (s *sorted) sort() {
	defer s.Close()
	for {
		conn, err := s.Listener.Accept()
		if err != nil {
			return
		}
		go s.one(conn)
	}
}

func (s *sorted) one(conn net.Conn) {
	p := &peeked{Conn: conn, r: bufio.NewReader(conn)}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // reading says so
	first, err := p.r.Peek(2)
	if err != nil {
		conn.Close()
		return
	}
	conn.SetReadDeadline(time.Time{}) //nolint:errcheck // reading says so
	var out net.Conn = p
	switch first[0] {
	case 0: // the length of a question, of less than 256 bytes, or that of a Kafka request, of less than 65,536
		if first[1] == 0 {
			serveKafka(p)
			return
		}
		s.dns.serveTCP(p)
		return
	case 0x16: // a record of TLS with a handshake
		out = tls.Server(p, s.tls)
	}
	select {
	case s.conns <- out:
	case <-s.closed:
		conn.Close()
	}
}

func (s *sorted) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

func (s *sorted) Close() error {
	s.once.Do(func() { close(s.closed) })
	return s.Listener.Close()
}

type peeked struct {
	net.Conn
	r *bufio.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.r.Read(b) }

// seen answers with what the server sees of a request: the method, the path and the
// client's address, which is the client pod's own when nothing on the way hides it. A POST to
// /records sets what the server's DNS says, by headers "Record: name=address".
func (s *service) seen(server string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			client = r.RemoteAddr
		}
		if r.Method == http.MethodPost && r.URL.Path == "/records" {
			if err := s.zone.set(r.Header["Record"]); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		fmt.Fprintf(w, "%s here: %s %s from %s\n", server, r.Method, r.URL.Path, client)
	})
}

func (s *service) tls() (*tls.Config, error) {
	if s.cert == "" {
		cert, err := selfSigned()
		return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}}, err
	}
	return &tls.Config{NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := tls.LoadX509KeyPair(s.cert, s.key)
		return &cert, err
	}}, nil
}

func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "septum-demo"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
