package stream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

const (
	// retryInterval is how long the proxy waits before it connects again.
	retryInterval = 200 * time.Millisecond
	// flushInterval is how long an event waits for others at most.
	flushInterval = 50 * time.Millisecond
	// eventRoom is how many events may wait; eventBatch is the most of one message.
	eventRoom  = 8192
	eventBatch = 512
)

// Client is the proxy's end.
type Client struct {
	// Apply takes a set in the place of the one before, or leaves that one whole and says
	// why. It is called by one goroutine.
	Apply func(Set) error
	// Failed is called when the connection ended or there is none.
	Failed func(error)

	target  string
	events  chan policy.Event
	lost    atomic.Uint64
	lookups *lookups
}

// NewClient returns the end for the enforcer's socket at that path.
func NewClient(socket string) *Client {
	return &Client{target: "unix://" + socket, events: make(chan policy.Event, eventRoom), lookups: newLookups(),
		Apply: func(Set) error { return errors.New("nothing is served") }, Failed: func(error) {}}
}

// Event takes a verdict to be told; where there is no room, it is counted as lost. It does
// not block.
func (c *Client) Event(e policy.Event) {
	select {
	case c.events <- e:
	default:
		c.lost.Add(1)
	}
}

// Run connects, and again whenever the connection ends, until ctx ends. What is served
// stays as it is meanwhile.
func (c *Client) Run(ctx context.Context) error {
	g, err := grpc.NewClient(c.target, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxSet)))
	if err != nil {
		return fmt.Errorf("connect to the enforcer: %w", err)
	}
	defer g.Close()
	for ctx.Err() == nil {
		err := c.once(ctx, septumpb.NewProxyServiceClient(g))
		if ctx.Err() != nil {
			return nil
		}
		c.Failed(err)
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
	return nil
}

func (c *Client) once(ctx context.Context, enforcer septumpb.ProxyServiceClient) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	s, err := enforcer.Connect(ctx)
	if err != nil {
		return fmt.Errorf("connect to the enforcer: %w", err)
	}
	c.lookups.again(time.Now())
	answers := make(chan *septumpb.ProxyAnswer, 1)
	wg.Go(func() {
		defer cancel()
		c.send(ctx, s, answers)
	})
	for {
		m, err := s.Recv()
		if err != nil {
			return fmt.Errorf("hear from the enforcer: %w", err)
		}
		if known := m.GetKnown(); known != nil {
			c.lookups.known(known)
			continue
		}
		classes := m.GetClasses()
		if classes == nil {
			continue
		}
		answer := &septumpb.ProxyAnswer{Version: classes.GetVersion()}
		set, err := read(classes)
		if err == nil {
			// What is judged by the set must not be answered before it is told.
			c.lookups.wanted.Store(&set.Names)
			err = c.Apply(set)
		}
		if err != nil {
			answer.Refused = err.Error()
		}
		select {
		case answers <- answer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// send writes answers, lookups and events until one cannot be written or ctx ends. Lookups
// are waited for; events wait for others a while.
func (c *Client) send(ctx context.Context, s septumpb.ProxyService_ConnectClient, answers <-chan *septumpb.ProxyAnswer) {
	batch := &septumpb.ProxyEvents{}
	flush := time.NewTimer(flushInterval)
	flush.Stop()
	defer flush.Stop()
	for {
		m := &septumpb.FromProxy{}
		select {
		case <-ctx.Done():
			return
		case a := <-answers:
			m.Message = &septumpb.FromProxy_Answer{Answer: a}
		case <-c.lookups.wake:
			m.Message = &septumpb.FromProxy_Lookups{Lookups: &septumpb.Lookups{Lookups: c.lookups.take()}}
		case e := <-c.events:
			if len(batch.Events) == 0 {
				flush.Reset(flushInterval)
			}
			batch.Events = append(batch.Events, wire.Event(e))
			if len(batch.Events) < eventBatch {
				continue
			}
			m.Message, batch = c.finish(batch), &septumpb.ProxyEvents{}
		case <-flush.C:
			if len(batch.Events) == 0 {
				continue
			}
			m.Message, batch = c.finish(batch), &septumpb.ProxyEvents{}
		}
		if s.Send(m) != nil {
			return
		}
	}
}

// finish makes a message of a batch of events.
func (c *Client) finish(batch *septumpb.ProxyEvents) *septumpb.FromProxy_Events {
	batch.Lost = c.lost.Swap(0)
	return &septumpb.FromProxy_Events{Events: batch}
}
