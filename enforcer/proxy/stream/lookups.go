package stream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

const (
	// lookupRoom is how many lookups may wait for the enforcer's word. What finds no room is
	// not told, and its addresses stay closed.
	lookupRoom = 4096
	// lookupBatch is the most of one message.
	lookupBatch = 256
	// lookupAge is how long one is told again to an enforcer that comes back.
	lookupAge = time.Minute
)

// lookups are what the enforcer has not answered yet.
type lookups struct {
	wanted atomic.Pointer[[]policy.NamePattern]

	mu     sync.Mutex
	number uint64
	open   map[uint64]*lookup
	unsent []*lookup
	wake   chan struct{}
}

type lookup struct {
	message *septumpb.Lookup
	begun   time.Time
	done    chan struct{}
}

func newLookups() *lookups {
	return &lookups{open: map[uint64]*lookup{}, wake: make(chan struct{}, 1)}
}

// Lookup tells the enforcer what an answer says, if a policy names the name, and returns when
// the data path knows it or ctx ends. An enforcer that comes back later is told then.
func (c *Client) Lookup(ctx context.Context, l wire.Lookup) {
	patterns := c.lookups.wanted.Load()
	if patterns == nil || !wanted(*patterns, l.Name) {
		return
	}
	waiting := c.lookups.add(l, time.Now())
	if waiting == nil {
		return
	}
	select {
	case <-waiting.done:
	case <-ctx.Done():
	}
}

func wanted(patterns []policy.NamePattern, name string) bool {
	for _, p := range patterns {
		if p.Matches(name) {
			return true
		}
	}
	return false
}

func (s *lookups) add(l wire.Lookup, now time.Time) *lookup {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= lookupRoom {
		return nil
	}
	s.number++
	out := &lookup{message: wire.LookupMessage(s.number, l), begun: now, done: make(chan struct{})}
	s.open[s.number] = out
	s.unsent = append(s.unsent, out)
	s.notify()
	return out
}

func (s *lookups) notify() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// take returns what is to be sent now.
func (s *lookups) take() []*septumpb.Lookup {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*septumpb.Lookup
	for len(s.unsent) > 0 && len(out) < lookupBatch {
		out = append(out, s.unsent[0].message)
		s.unsent = s.unsent[1:]
	}
	if len(s.unsent) > 0 {
		s.notify()
	}
	return out
}

// again has everything sent that a new connection's enforcer has not answered.
func (s *lookups) again(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent = nil
	for number, l := range s.open {
		if now.Sub(l.begun) > lookupAge {
			delete(s.open, number)
			continue
		}
		s.unsent = append(s.unsent, l)
	}
	s.notify()
}

// known takes the enforcer's word.
func (s *lookups) known(m *septumpb.LookupsKnown) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, number := range m.GetNumbers() {
		if l := s.open[number]; l != nil {
			delete(s.open, number)
			close(l.done)
		}
	}
}

// told collects the numbers that a proxy is to be told of.
type told struct {
	mu      sync.Mutex
	numbers []uint64
}

func (t *told) add(number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.numbers = append(t.numbers, number)
}

func (t *told) take() []uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := t.numbers
	t.numbers = nil
	return out
}

// lookedUp hands a proxy's lookups on.
func (s *Server) lookedUp(c *conn, in []*septumpb.Lookup) error {
	for _, l := range in {
		got, err := wire.ReadLookup(l)
		if err != nil {
			return err
		}
		number := l.GetNumber()
		s.config.OnLookup(got, func() {
			c.known.add(number)
			c.notify()
		})
	}
	return nil
}
