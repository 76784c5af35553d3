package stream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	"google.golang.org/grpc"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// ErrNotConnected is returned by Apply where no proxy is connected: the set is kept, and is
// what the next one gets.
var ErrNotConnected = errors.New("no proxy is connected")

// RefusedError says why the proxy did not take a set, in its own words.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the proxy refused: " + e.Reason }

// The largest messages: a whole set, and a batch of events.
const (
	maxSet    = 256 << 20
	maxEvents = 4 << 20
)

// Config is what a Server needs.
type Config struct {
	// Node is the node's name, for events.
	Node string
	// OnEvent is called with each verdict of the proxy, OnLost with how many it could not
	// send. Neither may block; nil drops them.
	OnEvent func(policy.Event)
	OnLost  func(uint64)
	// OnLookup is called with what the DNS told pods, and calls known when the data path has
	// it; known may be called by any goroutine, once. It may block for a while; nil answers at once.
	OnLookup func(l wire.Lookup, known func())
	// OnChange is called when Connected or Ready may have changed; it must not block. nil is allowed.
	OnChange func()
}

// Server is the enforcer's end. The proxy that connected last is the one that counts.
type Server struct {
	config Config

	mu    sync.Mutex
	want  *target
	conns []*conn
}

// target is a set on its way, and what became of it.
type target struct {
	message *septumpb.ProxyClasses
	done    chan struct{}
	err     error
}

// conn is one proxy; holds is the version that it has.
type conn struct {
	wake  chan struct{}
	holds string
	known told
}

// NewServer returns a Server that has nothing to serve yet.
func NewServer(c Config) *Server {
	if c.OnEvent == nil {
		c.OnEvent = func(policy.Event) {}
	}
	if c.OnLost == nil {
		c.OnLost = func(uint64) {}
	}
	if c.OnLookup == nil {
		c.OnLookup = func(_ wire.Lookup, known func()) { known() }
	}
	if c.OnChange == nil {
		c.OnChange = func() {}
	}
	return &Server{config: c}
}

// Serve answers proxies on l until ctx ends, and closes l.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := grpc.NewServer(grpc.MaxSendMsgSize(maxSet), grpc.MaxRecvMsgSize(maxEvents))
	septumpb.RegisterProxyServiceServer(srv, service{server: s})
	stop := context.AfterFunc(ctx, srv.Stop)
	defer stop()
	if err := srv.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve the proxy on %s: %w", l.Addr(), err)
	}
	return nil
}

// Apply gives the proxy the set, and returns when it listens for all of it. It returns
// ErrNotConnected where none is there, and a *RefusedError if it did not take the set.
func (s *Server) Apply(ctx context.Context, set Set) error {
	message := set.message()
	s.mu.Lock()
	if s.want == nil || s.want.message.GetVersion() != message.GetVersion() || s.want.failed() {
		if s.want != nil {
			s.want.finish(errors.New("replaced by a newer set"))
		}
		s.want = &target{message: message, done: make(chan struct{})}
	}
	t := s.want
	connected := len(s.conns) > 0
	for _, c := range s.conns {
		c.notify()
	}
	s.mu.Unlock()
	if !connected {
		return ErrNotConnected
	}
	select {
	case <-t.done:
		return t.err
	case <-ctx.Done():
		return fmt.Errorf("wait for the proxy to take its classes: %w", ctx.Err())
	}
}

// Connected says whether a proxy is there.
func (s *Server) Connected() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns) > 0
}

// Ready says whether a proxy is there and holds the set that was last applied, or is not
// needed, as that set is empty.
func (s *Server) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.want == nil || len(s.want.message.GetClasses()) == 0 {
		return true
	}
	return len(s.conns) > 0 && s.conns[len(s.conns)-1].holds == s.want.message.GetVersion()
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

func (t *target) failed() bool {
	select {
	case <-t.done:
		return t.err != nil
	default:
		return false
	}
}

func (c *conn) notify() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (s *Server) opened(c *conn) {
	s.mu.Lock()
	s.conns = append(s.conns, c)
	if s.want != nil && s.want.failed() {
		// Another proxy may take what this one refused.
		s.want = &target{message: s.want.message, done: make(chan struct{})}
	}
	s.mu.Unlock()
	c.notify()
	s.config.OnChange()
}

func (s *Server) closed(c *conn) {
	s.mu.Lock()
	s.conns = slices.DeleteFunc(s.conns, func(o *conn) bool { return o == c })
	if len(s.conns) == 0 && s.want != nil {
		s.want.finish(ErrNotConnected)
		if s.want.failed() {
			s.want = &target{message: s.want.message, done: make(chan struct{})}
		}
	}
	s.mu.Unlock()
	s.config.OnChange()
}

// answered takes a proxy's word on a set; only the newest proxy's counts.
func (s *Server) answered(c *conn, a *septumpb.ProxyAnswer) {
	s.mu.Lock()
	if a.GetRefused() == "" {
		c.holds = a.GetVersion()
	}
	newest := len(s.conns) > 0 && s.conns[len(s.conns)-1] == c
	if newest && s.want != nil && s.want.message.GetVersion() == a.GetVersion() {
		if a.GetRefused() == "" {
			s.want.finish(nil)
		} else {
			s.want.finish(&RefusedError{Reason: a.GetRefused()})
		}
	}
	s.mu.Unlock()
	s.config.OnChange()
}

type service struct {
	septumpb.UnimplementedProxyServiceServer
	server *Server
}

// Connect serves one proxy.
func (v service) Connect(g septumpb.ProxyService_ConnectServer) error {
	s, c := v.server, &conn{wake: make(chan struct{}, 1)}
	s.opened(c)
	defer s.closed(c)
	received := make(chan error, 1)
	go func() { received <- s.receive(g, c) }() // it ends with the stream
	sent := (*target)(nil)
	for {
		s.mu.Lock()
		t := s.want
		s.mu.Unlock()
		if t != nil && t != sent {
			sent = t
			if err := g.Send(&septumpb.ToProxy{Message: &septumpb.ToProxy_Classes{Classes: t.message}}); err != nil {
				return err
			}
		}
		if numbers := c.known.take(); len(numbers) > 0 {
			if err := g.Send(&septumpb.ToProxy{Message: &septumpb.ToProxy_Known{Known: &septumpb.LookupsKnown{Numbers: numbers}}}); err != nil {
				return err
			}
		}
		select {
		case <-c.wake:
		case err := <-received:
			return err
		case <-g.Context().Done():
			return g.Context().Err()
		}
	}
}

func (s *Server) receive(g septumpb.ProxyService_ConnectServer, c *conn) error {
	for {
		m, err := g.Recv()
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *septumpb.FromProxy_Answer:
			s.answered(c, m.Answer)
		case *septumpb.FromProxy_Lookups:
			if err := s.lookedUp(c, m.Lookups.GetLookups()); err != nil {
				return err
			}
		case *septumpb.FromProxy_Events:
			if n := m.Events.GetLost(); n > 0 {
				s.config.OnLost(n)
			}
			for _, e := range m.Events.GetEvents() {
				event, err := wire.ReadEvent(e)
				if err != nil {
					return err
				}
				event.Node = s.config.Node
				s.config.OnEvent(event)
			}
		}
	}
}
