package enforcer

import (
	"context"
	"slices"
	"time"

	"github.com/septum-dev/septum/xds/envoy"
)

// ask is the one question that Envoy is asked at a time.
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

// startAsk gives Envoy a set. The question before is given up, and c goes on when this
// one is answered; with no c, nothing waits for the answer.
func (e *Enforcer) startAsk(ctx context.Context, set envoy.Set, c *change) {
	e.ask.stop()
	ctx, cancel := context.WithTimeout(ctx, e.config.AckTimeout)
	done := make(chan struct{})
	e.ask.number++
	e.ask.cancel, e.ask.done = cancel, done
	number, answers := e.ask.number, e.ask.answers
	go func() {
		defer close(done)
		defer cancel()
		err := e.config.Proxy.Apply(ctx, set)
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
	for _, class := range c.update.NodePolicy.Classes {
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
