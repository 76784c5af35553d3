package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/xds/septumpb"
)

// What a connection without a client certificate may do: ask for one, and go.
const (
	strangerBytes    = 64 << 10
	strangerLifetime = 15 * time.Second
)

// serverCertificate is the server's own certificate and the CA that issued it.
type serverCertificate struct {
	ca   *CA
	pair *tls.Certificate
}

// credentials take clients with and without a certificate; see authorize.
func (s *Server) credentials() credentials.TransportCredentials {
	return strangerLimit{credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			pair, err := s.certificate()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:             tls.VersionTLS13,
				Certificates:           []tls.Certificate{*pair},
				ClientAuth:             tls.VerifyClientCertIfGiven,
				ClientCAs:              s.config.CA().pool(),
				Time:                   s.config.Now,
				SessionTicketsDisabled: true, // each connection shows a certificate that is good now
				NextProtos:             []string{"h2"},
			}, nil
		},
	})}
}

// certificate is the server's own, made anew when it is due or the CA is another.
func (s *Server) certificate() (*tls.Certificate, error) {
	s.certMu.Lock()
	defer s.certMu.Unlock()
	ca, now := s.config.CA(), s.config.Now()
	if ca == nil {
		return nil, errors.New("there is no CA yet")
	}
	if s.cert == nil || !s.cert.ca.current.cert.Equal(ca.current.cert) || !now.Before(renewAt(s.cert.pair.Leaf)) {
		pair, err := ca.issueServer(s.config.Names, now)
		if err != nil {
			return nil, err
		}
		s.cert = &serverCertificate{ca: ca, pair: pair}
	}
	return s.cert.pair, nil
}

// strangerLimit bounds what connections without a client certificate can cost.
type strangerLimit struct {
	credentials.TransportCredentials
}

func (l strangerLimit) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := l.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	if tlsInfo, ok := info.(credentials.TLSInfo); ok && len(tlsInfo.State.VerifiedChains) > 0 {
		proven(raw)
		return conn, info, nil
	}
	stranger := &strangerConn{Conn: conn}
	stranger.left.Store(strangerBytes)
	stranger.timer = time.AfterFunc(strangerLifetime, func() { conn.Close() })
	return stranger, info, nil
}

func (l strangerLimit) Clone() credentials.TransportCredentials {
	return strangerLimit{l.TransportCredentials.Clone()}
}

type strangerConn struct {
	net.Conn
	left  atomic.Int64
	timer *time.Timer
}

func (c *strangerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.left.Add(-int64(n)) < 0 {
		return 0, errors.New("a client without a certificate sent too much")
	}
	return n, err
}

func (c *strangerConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}

// nodeFrom returns the node that the connection's certificate names.
func nodeFrom(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "the connection is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	node, err := nodeOf(info.State.VerifiedChains[0][0])
	if err != nil {
		return "", status.Error(codes.Unauthenticated, err.Error())
	}
	return node, nil
}

// authorize lets everybody call Authenticate, the operator's replicas Follow, and only nodes
// anything else.
func authorize(ctx context.Context, method string) error {
	switch method {
	case septumpb.NodeService_Authenticate_FullMethodName:
		return nil
	case septumpb.ReplicaService_Follow_FullMethodName:
		return operatorFrom(ctx)
	}
	_, err := nodeFrom(ctx)
	return err
}

func authorizeUnary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := authorize(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, request)
}

func authorizeStream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := authorize(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(server, stream)
}
