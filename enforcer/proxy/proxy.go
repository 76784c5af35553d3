package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/policy"
)

// Handler serves the connections of classes of one kind.
type Handler interface {
	// Serve returns when the connection has ended or ctx does. It closes what it dials; the
	// client's side is closed after it.
	Serve(ctx context.Context, c *Conn)
}

// Config is what a Proxy needs.
type Config struct {
	// Handlers are by the kind of class that they serve.
	Handlers map[policy.Kind]Handler
	// Device names the interface that the sockets of a leg are bound to, by the leg's mark; it
	// is [Device] if it is nil.
	Device func(mark int) string
	// MaxConnections is how many connections are served at once, of all classes, and half of
	// them of one; more are reset. It is 20,000 if it is 0.
	MaxConnections int
	// Failed is called with what went wrong beside a client's connection.
	Failed func(error)
}

// Proxy serves classes. Apply is called by one goroutine.
type Proxy struct {
	config  Config
	ctx     context.Context
	stop    context.CancelFunc
	classes map[policy.ClassID]*served
	open    atomic.Int64 // connections
	wg      sync.WaitGroup
}

// served is a class with its listeners and connections.
type served struct {
	port      uint16
	kind      policy.Kind
	class     *atomic.Pointer[policy.Class]
	up        leg
	open      atomic.Int64 // connections
	listeners []*net.TCPListener
	// datagrams is nil for kinds that have none.
	datagrams *datagrams
	ctx       context.Context
	stop      context.CancelFunc
}

// maxConnections is what the memory is enough for.
const maxConnections = 20_000

// New returns a Proxy that serves nothing yet, until ctx ends.
func New(ctx context.Context, c Config) *Proxy {
	if c.Failed == nil {
		c.Failed = func(error) {}
	}
	if c.Device == nil {
		c.Device = Device
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = maxConnections
	}
	p := &Proxy{config: c, classes: map[policy.ClassID]*served{}}
	p.ctx, p.stop = context.WithCancel(ctx)
	return p
}

// Apply serves the set in the place of the one before. New classes listen when it returns;
// those that stay judge the next request of their connections by the new rules; those that
// go lose their connections. Where it fails, everything is as before.
func (p *Proxy) Apply(set stream.Set) error {
	fresh := map[policy.ClassID]*served{}
	for _, c := range set.Classes {
		class := c.Class
		if old := p.classes[class.ID]; old != nil && old.port == c.Port && old.kind == class.Kind {
			continue
		}
		s, err := p.begin(&class, c.Port)
		if err != nil {
			for _, f := range fresh {
				f.close()
			}
			return err
		}
		fresh[class.ID] = s
	}
	kept := map[policy.ClassID]*served{}
	for _, c := range set.Classes {
		class := c.Class
		if s := fresh[class.ID]; s != nil {
			kept[class.ID] = s
			continue
		}
		kept[class.ID] = p.classes[class.ID]
		kept[class.ID].class.Store(&class)
	}
	for id, old := range p.classes {
		if kept[id] != old {
			old.close()
		}
	}
	p.classes = kept
	for _, id := range sorted(fresh) {
		p.serve(fresh[id])
	}
	return nil
}

// Close ends all listeners and connections, and waits for them.
func (p *Proxy) Close() {
	p.stop()
	for _, s := range p.classes {
		s.close()
	}
	p.wg.Wait()
}

func (p *Proxy) begin(class *policy.Class, port uint16) (*served, error) {
	if p.config.Handlers[class.Kind] == nil {
		return nil, fmt.Errorf("class %q is of the kind %s, which this proxy does not serve", class.ID, class.Kind)
	}
	down, up := p.config.legs(class.Direction)
	// Datagrams first: a class is in the data path when its listener is there.
	var packets *datagrams
	if _, ok := p.config.Handlers[class.Kind].(DatagramHandler); ok {
		var err error
		if packets, err = listenDatagrams(p.ctx, down, up, port); err != nil {
			return nil, fmt.Errorf("open the sockets of class %q: %w", class.ID, err)
		}
	}
	listeners, err := listen(p.ctx, down, port)
	if err != nil {
		if packets != nil {
			packets.close()
		}
		return nil, fmt.Errorf("listen for class %q: %w", class.ID, err)
	}
	s := &served{port: port, kind: class.Kind, class: &atomic.Pointer[policy.Class]{}, listeners: listeners, datagrams: packets, up: up}
	s.class.Store(class)
	s.ctx, s.stop = context.WithCancel(p.ctx)
	return s, nil
}

func (s *served) close() {
	s.stop()
	for _, l := range s.listeners {
		l.Close()
	}
	if s.datagrams != nil {
		s.datagrams.close()
	}
}

func (p *Proxy) serve(s *served) {
	if s.datagrams != nil {
		h := p.config.Handlers[s.kind].(DatagramHandler)
		for _, socket := range s.datagrams.sockets {
			p.wg.Go(func() { p.read(s, socket, h) })
		}
	}
	for _, l := range s.listeners {
		p.wg.Go(func() { p.accept(s, l) })
	}
}

// accept hands connections on until the listener is closed.
func (p *Proxy) accept(s *served, l *net.TCPListener) {
	for {
		client, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
			return
		}
		if err != nil {
			// The connection is gone, or there is no descriptor left for it.
			p.config.Failed(fmt.Errorf("accept: %w", err))
			pause(s.ctx)
			continue
		}
		if !p.enter(s) {
			Reset(client)
			continue
		}
		p.wg.Go(func() {
			defer p.leave(s)
			defer client.Close()
			stop := context.AfterFunc(s.ctx, func() { client.Close() })
			defer stop()
			c, err := newConn(client, s.up, s.class)
			if err != nil {
				p.config.Failed(err)
				return
			}
			p.config.Handlers[s.kind].Serve(s.ctx, c)
		})
	}
}

// enter makes room for a connection of a class, or says that there is none.
func (p *Proxy) enter(s *served) bool {
	limit := int64(p.config.MaxConnections)
	all, own := p.open.Add(1), s.open.Add(1)
	if all <= limit && own <= (limit+1)/2 {
		return true
	}
	p.leave(s)
	return false
}

func (p *Proxy) leave(s *served) { p.open.Add(-1); s.open.Add(-1) }

func sorted[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
