package envoy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	grpckeepalive "google.golang.org/grpc/keepalive"

	"github.com/septum-dev/septum/policy"
)

// An Envoy that has said nothing for pingAfter is asked for a sign of life, and has
// pingTimeout to give it: then it hangs, and counts as gone. Making large configurations keeps
// it from answering for a second or two.
const (
	pingAfter   = 5 * time.Second
	pingTimeout = 10 * time.Second
)

// ErrNotConnected is returned by Apply where no Envoy is connected: the set is kept, and
// is what the next Envoy gets.
var ErrNotConnected = errors.New("no Envoy is connected")

// RefusedError says what Envoy did not take of a set: Envoy's own words by resource name.
// [ListenerName] tells the class of a listener or route configuration.
type RefusedError struct {
	Resources map[string]string
}

func (e *RefusedError) Error() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(e.Resources)) {
		parts = append(parts, fmt.Sprintf("%s: %s", name, e.Resources[name]))
	}
	return "Envoy refused " + strings.Join(parts, "; ")
}

// Config is what a Server needs.
type Config struct {
	// Node is the node's name, for events.
	Node string
	// OnEvent is called with each request that Envoy judged, by one goroutine for each of
	// Envoy's log streams; it must not block. nil drops them.
	OnEvent func(policy.Event)
	// OnChange is called, by any goroutine and without arguments that could be stale, when
	// Connected or Ready may have changed; it must not block. nil is allowed.
	OnChange func()
}

// Server is the control plane of one Envoy: delta ADS and the access-log sink. It speaks to
// every Envoy that connects, as there are two in a hot restart; the newest is the one that
// Apply waits for.
type Server struct {
	config Config

	mu      sync.Mutex
	want    *target
	good    *target // the last target that was acknowledged whole
	streams []*stream
}

// target is a Set made ready to be sent, and what became of it.
type target struct {
	version   string
	resources map[string]map[string]resource // by type and name
	// done is closed when the newest Envoy holds it or refused it; err says which.
	done chan struct{}
	err  error
	// back is true for one that Envoy is to go back to after a refusal.
	back bool
}

// NewServer returns a Server that has nothing to serve yet.
func NewServer(c Config) (*Server, error) {
	if c.Node == "" {
		return nil, errors.New("envoy server: the node's name is needed")
	}
	if c.OnEvent == nil {
		c.OnEvent = func(policy.Event) {}
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	return &Server{config: c}, nil
}

// Serve answers Envoy on l until ctx ends, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	// A route configuration of 10,000 rules is larger than gRPC's own limit of 4 MiB.
	srv := grpc.NewServer(grpc.MaxSendMsgSize(1<<30), grpc.MaxRecvMsgSize(64<<20),
		grpc.KeepaliveParams(grpckeepalive.ServerParameters{Time: pingAfter, Timeout: pingTimeout}))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, adsService{server: s})
	accesslogv3.RegisterAccessLogServiceServer(srv, logService{server: s})
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve Envoy on %s: %w", l.Addr(), err)
	}
	return nil
}

// Apply gives Envoy the set, whole, and returns when Envoy has it: clusters, then routes
// and listeners, each acknowledged and warm, and at last without what the set no longer
// has. It returns ErrNotConnected where no Envoy is there, and a *RefusedError if Envoy did
// not take something; Envoy is then given the last set again that it took whole.
//
// A new listener's port listens a moment after Apply returns, when Envoy's workers have
// taken it: the data path's own table of sockets says when.
func (s *Server) Apply(ctx context.Context, set Set) error {
	t := targetFor(set)
	s.mu.Lock()
	if s.want != nil && s.want.version == t.version && !s.want.refused() {
		t = s.want
	} else {
		if s.want != nil {
			s.want.finish(errors.New("replaced by a newer set"))
		}
		s.want = t
		if s.good == nil {
			// Nothing was ever acknowledged: there is nothing to go back to but nothing.
			s.good = targetFor(Set{Clusters: set.Clusters})
		}
	}
	connected := s.notify()
	s.mu.Unlock()
	if !connected {
		return ErrNotConnected
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("wait for Envoy to take the configuration: %w", ctx.Err())
	}
}

// Connected says whether an Envoy is there.
func (s *Server) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) > 0
}

// Ready says whether an Envoy is there and holds the set that was last applied.
func (s *Server) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams) > 0 && s.want != nil && s.good == s.want && s.streams[len(s.streams)-1].holds == s.want
}

func targetFor(set Set) *target {
	t := &target{resources: map[string]map[string]resource{}, done: make(chan struct{})}
	sum := sha256.New()
	for _, kind := range kinds {
		t.resources[kind] = map[string]resource{}
		for _, r := range set.resources(kind) {
			r.sealed = set.Sealed[r.name]
			t.resources[kind][r.name] = r
			fmt.Fprintf(sum, "%s %s %s\n", kind, r.name, r.version)
		}
	}
	t.version = hex.EncodeToString(sum.Sum(nil)[:8])
	return t
}

// finish says what became of a target; only the first word counts.
func (t *target) finish(err error) {
	select {
	case <-t.done:
	default:
		t.err = err
		close(t.done)
	}
}

func (t *target) refused() bool {
	select {
	case <-t.done:
		return t.err != nil
	default:
		return false
	}
}

// notify tells every stream to look again; s.mu is held. It returns whether there is one.
func (s *Server) notify() bool {
	for _, st := range s.streams {
		select {
		case st.wake <- struct{}{}:
		default:
		}
	}
	return len(s.streams) > 0
}

func (s *Server) wanted() *target {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.want
}

// opened and closed keep the list of streams; the last is the newest Envoy's.
func (s *Server) opened(st *stream) {
	s.mu.Lock()
	s.streams = append(s.streams, st)
	if s.want != nil && s.want.refused() {
		// A new Envoy may take what another refused, for another port may be free there.
		s.want = s.want.again()
	}
	s.mu.Unlock()
	s.config.OnChange()
}

func (s *Server) closed(st *stream) {
	s.mu.Lock()
	for i, other := range s.streams {
		if other == st {
			s.streams = append(s.streams[:i:i], s.streams[i+1:]...)
			break
		}
	}
	if len(s.streams) == 0 && s.want != nil {
		select {
		case <-s.want.done:
		default:
			s.want.finish(ErrNotConnected)
			s.want = s.want.again()
		}
	}
	s.mu.Unlock()
	s.config.OnChange()
}

// again is the same target, for another try.
func (t *target) again() *target {
	return &target{version: t.version, resources: t.resources, done: make(chan struct{})}
}

// accepted is a stream's word that its Envoy holds all of t, refused that it does not take it.
func (s *Server) accepted(st *stream, t *target) {
	s.mu.Lock()
	st.holds = t
	if newest := s.streams[len(s.streams)-1]; newest == st && s.want == t {
		s.good = t
		t.finish(nil)
	}
	s.mu.Unlock()
	s.config.OnChange()
}

func (s *Server) refused(st *stream, t *target, err error) {
	s.mu.Lock()
	if newest := s.streams[len(s.streams)-1]; newest == st && s.want == t {
		t.finish(err)
		if !t.back { // else there is nothing better to go to
			s.want = s.good.again()
			s.want.back = true
			s.notify()
		}
	}
	s.mu.Unlock()
	s.config.OnChange()
}

type adsService struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
}

// DeltaAggregatedResources serves one Envoy.
func (a adsService) DeltaAggregatedResources(conn discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	st := newStream(a.server, conn)
	a.server.opened(st)
	defer a.server.closed(st)
	return st.run()
}
