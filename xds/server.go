package xds

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/septum-dev/septum/xds/septumpb"
)

// The server's bounds. A first request names the version of each resource that the node
// holds, which for a large cluster is many.
const (
	maxRequestBytes    = 32 << 20
	streamsPerNode     = 2 // of each kind: an old one that has not been noticed to be dead, and a new one
	streamsPerConn     = 8
	handshakeTimeout   = 10 * time.Second
	keepaliveEvery     = 20 * time.Second
	keepaliveTimeout   = 10 * time.Second
	maxConnectionAge   = LeafLifetime / 3 // so that nobody outlives its certificate by long
	connectionAgeGrace = 30 * time.Second
)

// Observer is told what the nodes do. Its methods are called by many goroutines, and
// must not block.
type Observer interface {
	// Connected and Disconnected are about a node's first and last xDS stream.
	Connected(node string)
	Disconnected(node string)
	// Acked says that a node took a response, or with an error that it refused one.
	Acked(node, typeURL string, err error)
	// Pushed says that a response with so many resources was sent to a node.
	Pushed(node, typeURL string, resources int)
	// Reported has what a node reports; the report is the callee's.
	Reported(node string, report *septumpb.NodeReport)
	// Silent says that a node's last report stream has ended.
	Silent(node string)
	// Restricted says what a node is served that does not know all features.
	Restricted(node string, to Restriction)
}

// ServerConfig is what a [Server] needs; every field but States is required.
type ServerConfig struct {
	// Names are the DNS names that nodes reach the server by.
	Names []string
	// CA returns the authority in force.
	CA func() *CA
	// Authenticate returns the node that a service account token belongs to. Its
	// errors are logged, and not told to who asks.
	Authenticate func(ctx context.Context, token string) (node string, err error)
	Observer     Observer
	// States are what other replicas are told; without it they cannot ask.
	States NodeStates
	Log    logr.Logger
	Now    func() time.Time
}

// Server is the operator's side: delta ADS and the node service on one port.
type Server struct {
	config ServerConfig
	caches *caches
	// published is closed by the first Publish. Before it no node is told anything: an
	// empty answer would say that there are no policies.
	published     chan struct{}
	publishedOnce sync.Once
	sessions      sessions

	certMu sync.Mutex
	cert   *serverCertificate
}

// NewServer returns a server that does not listen yet.
func NewServer(config ServerConfig) (*Server, error) {
	var errs []error
	for field, missing := range map[string]bool{
		"Names": len(config.Names) == 0, "CA": config.CA == nil, "Authenticate": config.Authenticate == nil,
		"Observer": config.Observer == nil, "Now": config.Now == nil,
	} {
		if missing {
			errs = append(errs, fmt.Errorf("%s is missing", field))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("xDS server: %w", err)
	}
	return &Server{
		config: config, caches: newCaches(config.Observer.Restricted), published: make(chan struct{}),
		sessions: sessions{open: map[sessionKey][]*session{}},
	}, nil
}

// Publication is what all nodes must hold.
type Publication struct {
	Cluster map[string]*septumpb.ClusterResource
	// Nodes has the resources of every node of the cluster, by its name; a node that is
	// not in it is cut off.
	Nodes map[string]map[string]*septumpb.NodeResource
}

// Publish replaces what is served. Only what differs is sent, and the cluster's
// resources before the nodes', so that an address has its identity before a table does.
func (s *Server) Publish(p Publication) error {
	removed, err := s.caches.set(p)
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	for _, node := range removed {
		s.sessions.end(node)
	}
	s.publishedOnce.Do(func() { close(s.published) })
	return nil
}

// Serve answers on the listener until the context ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(
		grpc.Creds(s.credentials()),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.MaxRecvMsgSize(maxRequestBytes),
		grpc.MaxConcurrentStreams(streamsPerConn),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: keepaliveEvery, Timeout: keepaliveTimeout,
			MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: connectionAgeGrace,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveEvery / 2}),
		grpc.UnaryInterceptor(authorizeUnary),
		grpc.StreamInterceptor(authorizeStream),
	)
	discovery.RegisterAggregatedDiscoveryServiceServer(server, newADS(ctx, s))
	septumpb.RegisterNodeServiceServer(server, &nodeService{server: s})
	if s.config.States != nil {
		septumpb.RegisterReplicaServiceServer(server, &replicaService{server: s})
	}

	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Stop() // streams never end by themselves
	}()
	err := server.Serve(newGate(listener, unprovenPerAddress))
	if ctx.Err() != nil {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve xDS: %w", err)
}
