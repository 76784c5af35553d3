package flow

import (
	"errors"
	"fmt"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay/facts"
)

// DefaultRoom is how many flows are kept.
const DefaultRoom = 4096

// maxRoom bounds the memory: about 2 KiB for each flow.
const maxRoom = 1 << 20

// Config is what a Recorder needs.
type Config struct {
	// Node is this node's name; required.
	Node string
	// Room is how many flows are kept; DefaultRoom if it is 0.
	Room int
	// Queries keeps the query of requests' URLs, which may hold secrets.
	Queries bool
	// Version is what the server says it is.
	Version string
	// Metrics count the flows; nil counts nothing.
	Metrics *Metrics
	// Facts say what is so on the node now; nil says nothing. Any goroutine calls it.
	Facts func() facts.Node
	// Now is the clock; time.Now if it is nil.
	Now func() time.Time
}

// Recorder keeps the last flows. Add and Know belong to one goroutine; any others may read.
type Recorder struct {
	config Config
	ring   *ring
	people *people
	start  time.Time
	// names belong to the goroutine that adds.
	names names
	// streams has room for as many clients as may read at the same time.
	streams chan struct{}
}

// New returns a Recorder without flows.
func New(c Config) (*Recorder, error) {
	var errs []error
	if c.Node == "" {
		errs = append(errs, errors.New("the name of the node is missing"))
	}
	if c.Room < 0 || c.Room > maxRoom {
		errs = append(errs, fmt.Errorf("room for %d flows is not between 0 and %d", c.Room, maxRoom))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("configure flows: %w", err)
	}
	if c.Room == 0 {
		c.Room = DefaultRoom
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Recorder{config: c, ring: newRing(c.Room), people: &people{}, start: c.Now(), streams: make(chan struct{}, maxStreams)}, nil
}

// Know takes who is behind the addresses of the events to come.
func (r *Recorder) Know(np policy.NodePolicy) {
	p := newPeople(np)
	r.people = &p
	if r.config.Metrics != nil {
		r.config.Metrics.know(np)
	}
}

// Add keeps the flows of an event. Responsible are the policies that a verdict without a
// rule is laid to: those that select the pod and let nobody else in.
func (r *Recorder) Add(e policy.Event, responsible []policy.Ref) {
	if e.Time.IsZero() {
		e.Time = r.config.Now()
	}
	if e.Node == "" {
		e.Node = r.config.Node
	}
	if e.Rule != (policy.RuleID{}) {
		responsible = []policy.Ref{e.Rule.Policy}
	}
	c := converter{event: e, by: responsible, people: r.people, names: r.names.of(e), queries: r.config.Queries}
	r.names.learn(e)
	parts := c.parts()
	if r.config.Metrics != nil {
		r.config.Metrics.observe(c, parts)
	}
	r.ring.add(c, parts)
}

// flows of one event share what c holds.
type converter struct {
	event  policy.Event
	by     []policy.Ref
	people *people
	// names are what the server is called, as the client was told.
	names   []string
	queries bool
}
