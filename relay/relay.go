package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
)

// MarkKey is the key of the metadata by which the relay asks a node that it follows to say,
// with a node status, where what it has kept ends and what comes begins.
const MarkKey = "septum-mark"

// healthName is the service that Hubble's clients ask the health of.
const healthName = "hubble.server.Observer"

// Bounds of what clients may cost.
const (
	// maxClients may read flows at the same time: half of what each node lets in, so that
	// its own readers find room.
	maxClients       = 16
	maxConnections   = 128
	maxRequest       = 64 << 10
	handshakeTimeout = 10 * time.Second
	keepaliveEvery   = 20 * time.Second
	keepaliveTimeout = 10 * time.Second
	maxConnectionAge = 8 * time.Hour // a certificate lives for a day
	ageGrace         = time.Minute
)

// Config is what a Relay needs.
type Config struct {
	// Nodes returns the nodes that there are now; required.
	Nodes func(context.Context) ([]Node, error)
	// Credentials are for the connection to a node; required.
	Credentials func(node string) credentials.TransportCredentials
	// Version is what the server says it is.
	Version string
	// Patience is how long a node may say nothing before the others go on without it;
	// DefaultPatience if it is 0.
	Patience time.Duration
	// Hold is how long a flow that has just come waits for older ones of other nodes;
	// DefaultHold if it is 0.
	Hold time.Duration
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
	// Metrics is what the relay's own metrics are registered with; nil registers nothing.
	Metrics prometheus.Registerer
}

// The defaults of Config.
const (
	DefaultPatience = 5 * time.Second
	DefaultHold     = 300 * time.Millisecond
)

// Relay is Hubble's API over those of all nodes.
type Relay struct {
	observerpb.UnimplementedObserverServer
	config Config
	pool   pool
	start  time.Time
	// clients has room for as many as may read flows.
	clients chan struct{}
	metrics metrics
}

// New returns a Relay that is connected to nobody yet.
func New(c Config) (*Relay, error) {
	var errs []error
	if c.Nodes == nil {
		errs = append(errs, errors.New("no Nodes are given"))
	}
	if c.Credentials == nil {
		errs = append(errs, errors.New("no Credentials are given"))
	}
	if c.Patience < 0 || c.Hold < 0 {
		errs = append(errs, errors.New("a negative Patience or Hold"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("configure the relay: %w", err)
	}
	if c.Patience == 0 {
		c.Patience = DefaultPatience
	}
	if c.Hold == 0 {
		c.Hold = DefaultHold
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Relay{
		config: c, pool: pool{credentials: c.Credentials, peers: map[Node]*peer{}}, start: c.Now(), clients: make(chan struct{}, maxClients),
	}
	r.metrics = newMetrics(r)
	if c.Metrics != nil {
		for _, m := range r.metrics.all() {
			if err := c.Metrics.Register(m); err != nil {
				return nil, fmt.Errorf("register the relay's metrics: %w", err)
			}
		}
	}
	return r, nil
}

// Serve answers on l until ctx ends. Who may ask is for the credentials to say.
func (r *Relay) Serve(ctx context.Context, l net.Listener, creds credentials.TransportCredentials) error {
	srv := grpc.NewServer(
		grpc.Creds(creds), grpc.ConnectionTimeout(handshakeTimeout), grpc.MaxRecvMsgSize(maxRequest), grpc.MaxConcurrentStreams(2*maxClients),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: keepaliveEvery, Timeout: keepaliveTimeout, MaxConnectionAge: maxConnectionAge, MaxConnectionAgeGrace: ageGrace,
		}),
	)
	observerpb.RegisterObserverServer(srv, r)
	alive := health.NewServer()
	alive.SetServingStatus(healthName, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(srv, alive)
	defer r.pool.close()
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(limit(l, maxConnections)); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the cluster's flows on %s: %w", l.Addr(), err)
	}
	return nil
}
