package enforcer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy/stream"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/envoy"
)

// ask is the one question that the proxies are asked at a time.
type ask struct {
	answers chan answer
	number  int
	cancel  context.CancelFunc
	done    chan struct{}
}

type answer struct {
	number int
	change *change
	err    error
}

// sets are what the two proxies are given.
type sets struct {
	envoy envoy.Set
	own   stream.Set
}

// setsFor fails where a class has no number or no resources; it is left out then.
func (e *Enforcer) setsFor(np policy.NodePolicy, n policy.Numbers) (sets, error) {
	set, errEnvoy := envoy.Resources(np, n)
	own, errOwn := stream.SetFor(np, n)
	if e.config.NoIPv6 {
		set = set.IPv4Only()
	}
	return sets{envoy: set, own: own}, errors.Join(errEnvoy, errOwn)
}

func (s sets) version() string { return s.envoy.Version() + " " + s.own.Version() }

// give asks both proxies at once. That one is not there which has nothing to serve is no error.
func (e *Enforcer) give(ctx context.Context, s sets) error {
	own := make(chan error, 1)
	go func() { own <- e.config.Own.Apply(ctx, s.own) }()
	envoyErr, ownErr := e.config.Proxy.Apply(ctx, s.envoy), <-own
	if errors.Is(ownErr, stream.ErrNotConnected) && len(s.own.Classes) == 0 {
		ownErr = nil
	}
	if weight(ownErr) > weight(envoyErr) {
		return ownErr
	}
	return envoyErr
}

// weight orders errors by what they decide: a refusal before silence, and that before absence.
func weight(err error) int {
	switch {
	case err == nil:
		return 0
	case notConnected(err):
		return 1
	case errors.Is(err, context.DeadlineExceeded):
		return 2
	}
	return 3
}

func notConnected(err error) bool {
	return errors.Is(err, envoy.ErrNotConnected) || errors.Is(err, stream.ErrNotConnected)
}

// startAsk gives Envoy and Septum's own proxy their sets. The question before is given up, and c goes on when this
// one is answered; with no c, nothing waits for the answer.
func (e *Enforcer) startAsk(ctx context.Context, set sets, c *change) {
	e.ask.stop()
	ctx, cancel := context.WithTimeout(ctx, e.config.AckTimeout)
	done := make(chan struct{})
	e.ask.number++
	e.ask.cancel, e.ask.done = cancel, done
	number, answers := e.ask.number, e.ask.answers
	go func() {
		defer close(done)
		defer cancel()
		err := e.give(ctx, set)
		if err == nil && c != nil {
			e.awaitListeners(ctx, c)
		}
		// answers holds one, and only the last question's is waited for.
		select {
		case <-answers:
		default:
		}
		answers <- answer{number: number, change: c, err: err}
	}()
}

// How long Envoy's workers may take to listen after Envoy has acknowledged, and how often
// that is looked for. A connection that comes too early is refused.
const (
	listenTimeout  = time.Second
	listenInterval = 2 * time.Millisecond
)

// awaitListeners waits until every class of the change has its listener.
func (e *Enforcer) awaitListeners(ctx context.Context, c *change) {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	for ctx.Err() == nil {
		ports, err := e.config.Datapath.Listeners()
		if err != nil || c.heardBy(ports) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenInterval):
		}
	}
}

// heardBy says whether the ports hold those of all classes of the change.
func (c *change) heardBy(ports []uint16) bool {
	for _, class := range c.np.Classes {
		if port := c.numbers.Classes[class.ID]; port != 0 && !slices.Contains(ports, port) {
			return false
		}
	}
	return true
}

// stop gives the question up and waits until nobody asks it.
func (a *ask) stop() {
	if a.cancel == nil {
		return
	}
	a.cancel()
	<-a.done
	a.cancel = nil
}
