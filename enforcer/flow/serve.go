package flow

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	peerpb "github.com/cilium/cilium/api/v1/peer"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// healthName is the service that Hubble's clients ask the health of.
const healthName = "hubble.server.Observer"

// maxRequest bounds what a client may send.
const maxRequest = 64 << 10

// Serve answers on l until ctx ends. There is no authentication: who reaches l reads all.
func (r *Recorder) Serve(ctx context.Context, l net.Listener) error {
	return r.serve(ctx, l)
}

// What connections of others of the network may cost.
const (
	maxConnections   = 32
	handshakeTimeout = 5 * time.Second
	maxAge           = 8 * time.Hour // a certificate lives for a day
	ageGrace         = time.Minute
)

// ServeTLS does so for those that the TLS configuration lets in.
func (r *Recorder) ServeTLS(ctx context.Context, l net.Listener, config *tls.Config) error {
	return r.serve(ctx, netutil.LimitListener(l, maxConnections),
		grpc.Creds(credentials.NewTLS(config)), grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: maxAge, MaxConnectionAgeGrace: ageGrace, Time: time.Minute, Timeout: handshakeTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
	)
}

func (r *Recorder) serve(ctx context.Context, l net.Listener, more ...grpc.ServerOption) error {
	srv := grpc.NewServer(append(more, grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(2*maxStreams))...)
	observerpb.RegisterObserverServer(srv, observer{recorder: r, streams: r.streams})
	peerpb.RegisterPeerServer(srv, peers{node: r.config.Node, address: l.Addr().String()})
	alive := health.NewServer()
	alive.SetServingStatus(healthName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, alive)
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve flows on %s: %w", l.Addr(), err)
	}
	return nil
}

// peers tells a relay of this node, and then has no more to tell.
type peers struct {
	peerpb.UnimplementedPeerServer
	node, address string
}

func (p peers) Notify(_ *peerpb.NotifyRequest, conn grpc.ServerStreamingServer[peerpb.ChangeNotification]) error {
	err := conn.Send(&peerpb.ChangeNotification{Name: p.node, Address: p.address, Type: peerpb.ChangeNotificationType_PEER_ADDED})
	if err != nil {
		return err
	}
	<-conn.Context().Done()
	return nil
}

// ListenUnix listens on a socket that root alone can use. What another run left is replaced.
func ListenUnix(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make the flow socket's directory: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old flow socket: %w", err)
	}
	// It is made under a name of its own and renamed when its mode is right.
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove the old flow socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: fresh, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for readers of flows: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(fresh, 0o600), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("make the flow socket root's: %w", err), l.Close())
	}
	return l, nil
}

// ListenNode listens on an address of the node, for [Recorder.ServeTLS].
func ListenNode(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for the operator, which reads flows: %w", err)
	}
	return l, nil
}

// ListenLoopback listens on a loopback address; others would let the whole network read,
// as nobody is asked who it is.
func ListenLoopback(addr string) (net.Listener, error) {
	tcp, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("address for flows: %w", err)
	}
	if !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("address for flows: %s is not a loopback address, and flows are served to the node alone", addr)
	}
	l, err := net.ListenTCP("tcp", tcp)
	if err != nil {
		return nil, fmt.Errorf("listen for readers of flows: %w", err)
	}
	return l, nil
}
