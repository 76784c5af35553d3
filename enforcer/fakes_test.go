package enforcer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/enforcer/names"
	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/enforcer/proxyns"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/envoy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// world is everything around an Enforcer. It writes down what the Enforcer does, in order.
type world struct {
	t *testing.T

	mu        sync.Mutex
	did       []string
	reports   []*septumpb.NodeReport
	veths     map[string]links.Link // by address
	failing   map[string]error      // by call
	connected bool
	answer    func(context.Context, []string) error // what Envoy says to a set of classes
	held      []string                              // what Envoy holds
	rules     map[uint32]bpf.Counter
	attached  []int
	owners    map[int][]netip.Addr
	guarded   []int
	shut      []bpf.PodInterface
	ways      map[string][]links.Way // by address
	stored    *xds.Update
	starting  []Started
	metrics   *Metrics
	numbers   policy.Numbers
	written   bpf.State
	open      []links.Connection
	ended     []bpf.Ended
	deaf      bool
	tampered  []string // maps that somebody else has written to
	silent    bool
	later     time.Duration // how much later than it is

	updates  chan xds.Update
	starts   chan *cni.Pod
	changed  chan struct{}
	envoy    chan struct{}
	requests chan policy.Event
	packets  chan bpf.Event
	lookups  chan Lookup
	facts    []names.Fact
	used     []bpf.Use

	ackTimeout, drainLimit time.Duration
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, veths: map[string]links.Link{}, failing: map[string]error{}, connected: true,
		answer: func(context.Context, []string) error { return nil }, rules: map[uint32]bpf.Counter{},
		starts:  make(chan *cni.Pod),
		updates: make(chan xds.Update, 1), changed: make(chan struct{}, 1), envoy: make(chan struct{}, 1),
		ackTimeout: 10 * time.Second,
		requests:   make(chan policy.Event, 16), packets: make(chan bpf.Event, 16), lookups: make(chan Lookup, 16),
	}
}

// run starts an Enforcer in the world; it is stopped by the function returned, or at the test's end.
func (w *world) run() (stop func()) {
	w.t.Helper()
	w.reports = nil
	w.metrics = NewMetrics(prometheus.NewRegistry())
	e, err := New(Config{
		Source: w, Datapath: w, Proxy: proxy{w}, Own: own{}, Links: w, Store: w, Instance: "test",
		Namespace:  func(*os.File, proxyns.Config) (proxyns.Link, error) { return proxyns.Link{}, nil },
		Inputs:     Inputs{Starts: w.starts, Changed: w.changed, ProxyChanged: w.envoy, Requests: w.requests, Packets: w.packets, Lookups: w.lookups},
		Metrics:    w.metrics,
		Log:        testr.New(w.t),
		AckTimeout: w.ackTimeout, DrainLimit: w.drainLimit,
		Now: func() time.Time {
			w.mu.Lock()
			defer w.mu.Unlock()
			return time.Now().Add(w.later)
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := e.Run(ctx); err != nil {
			w.t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	return stop
}

func (w *world) note(format string, args ...any) {
	w.did = append(w.did, fmt.Sprintf(format, args...))
}

// set changes the world while an Enforcer runs in it.
func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// took returns what was done since it was last called.
func (w *world) took() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	did := w.did
	w.did = nil
	return did
}

// wants waits until exactly these things have been done since the last call of took.
func (w *world) wants(want ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("done: %q", want), func() string {
		if !slices.Equal(w.did, want) {
			return fmt.Sprintf("%q", w.did)
		}
		return ""
	})
	w.took()
}

// wantsInAnyOrder is wants for things of which Envoy's part is not waited for.
func (w *world) wantsInAnyOrder(want ...string) {
	w.t.Helper()
	slices.Sort(want)
	w.eventually(fmt.Sprintf("done: %q", want), func() string {
		did := slices.Sorted(slices.Values(w.did))
		if !slices.Equal(did, want) {
			return fmt.Sprintf("%q", did)
		}
		return ""
	})
	w.took()
}

// reported waits for a report of which good says "".
func (w *world) reported(what string, good func(*septumpb.NodeReport) bool) {
	w.t.Helper()
	w.eventually(what, func() string {
		if len(w.reports) > 0 && good(w.reports[len(w.reports)-1]) {
			return ""
		}
		return fmt.Sprint(w.reports)
	})
}

// eventually waits until problem, which is called in the world's lock, returns "".
func (w *world) eventually(what string, problem func() string) {
	w.t.Helper()
	w.eventuallyFor(8*time.Second, what, problem)
}

func (w *world) eventuallyFor(limit time.Duration, what string, problem func() string) {
	w.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		w.mu.Lock()
		p := problem()
		w.mu.Unlock()
		if p == "" {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("not %s, but %s", what, p)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Source.

func (w *world) Updates() <-chan xds.Update { return w.updates }

func (w *world) Report(r *septumpb.NodeReport) {
	w.set(func() { w.reports = append(w.reports, r) })
}

// proxy is the world's Envoy: the methods' names are taken by the data path.
type proxy struct{ *world }

func (p proxy) Apply(ctx context.Context, s envoy.Set) error {
	var classes []string
	for _, l := range s.Listeners {
		classes = append(classes, strings.TrimPrefix(l.Name, "class/"))
	}
	p.mu.Lock()
	p.note("envoy %s", strings.Join(classes, ","))
	connected, answer := p.connected, p.answer
	p.mu.Unlock()
	if !connected {
		return envoy.ErrNotConnected
	}
	err := answer(ctx, classes)
	if err == nil {
		p.set(func() { p.held = classes })
	}
	return err
}

func (p proxy) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.connected
}

func (p proxy) Ready() bool { return p.Connected() }

// own is a proxy of our own that is there and takes everything.
type own struct{}

func (own) Apply(context.Context, stream.Set) error { return nil }
func (own) Connected() bool                         { return false }
func (own) Ready() bool                             { return true }

var errFake = errors.New("refused by the test")
