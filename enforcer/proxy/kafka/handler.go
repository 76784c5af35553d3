package kafka

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// The bounds of what is held in memory.
const (
	// maxFrame is the brokers' own limit of a request.
	maxFrame = 100 << 20
	// maxSmall bounds a request that carries no records, and a response that is looked into.
	maxSmall = 16 << 20
	// streamed is from where on a Produce request goes on without being held, if it can.
	streamed = 32 << 10
	// largeFrame is from where on requests share largeRoom, all connections together;
	// clientRoom is what one client may have of it. One request that is larger than that is
	// held besides.
	largeFrame = 256 << 10
	largeRoom  = 64 << 20
	clientRoom = 16 << 20
	// pooled is the size of the buffers that large requests use again; it is above what
	// clients make their requests by default.
	pooled = 1<<20 + 64<<10
	// keptBuffers is how many of them are kept when no request uses them.
	keptBuffers = 4
	// largeTime is how long a client may take to send a large request whole.
	largeTime = 30 * time.Second
	// maxWaiting is how many answers a connection may wait for.
	maxWaiting = 1024
)

// Handler serves connections of Kafka classes.
type Handler struct {
	messages *messages
	event    func(policy.Event)
	now      func() time.Time
	room     *room
}

// New returns a Handler that gives its verdicts to event.
func New(event func(policy.Event)) *Handler {
	return &Handler{messages: newMessages(), event: event, now: time.Now, room: newRoom()}
}

// Serve carries a connection until one side ends it, or what comes is not Kafka.
func (h *Handler) Serve(ctx context.Context, c *proxy.Conn) {
	server, err := c.Dial(ctx)
	if err != nil {
		proxy.Reset(c.Client)
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { server.Close(); c.Client.Close() })
	defer stop()
	conn := &conn{h: h, Conn: c, server: server, answers: newAnswers(c.Client), names: map[[16]byte]string{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		defer cancel()
		err := conn.responses()
		// The client learns of the server's end as it happened.
		conn.end(err)
		conn.answers.close()
	})
	err = conn.requests(ctx)
	if errors.Is(err, io.EOF) {
		// The client has said all: what it waits for still comes.
		if t, ok := server.(*net.TCPConn); ok && t.CloseWrite() == nil {
			wg.Wait()
			return
		}
	}
	conn.end(err)
	cancel()
	wg.Wait()
}

// refusal is an error for which the connection is reset: it is reported.
type refusal struct {
	reason string
	event  policy.KafkaEvent
}

func (r *refusal) Error() string { return r.reason }

// end reports a refusal, and resets the client's connection.
func (c *conn) end(err error) {
	var r *refusal
	if errors.As(err, &r) {
		c.report(policy.Decision{Verdict: policy.Denied, Reason: r.reason}, r.event)
		proxy.Reset(c.Client)
	}
}

func (c *conn) report(d policy.Decision, k policy.KafkaEvent) {
	e := policy.Event{
		Time: c.h.now(), Source: policy.SourceProxy, Direction: c.Class().Direction, Verdict: d.Verdict, Rule: d.Rule,
		Src: c.Src, Dst: c.Dst, Protocol: policy.ProtocolTCP, Kafka: &k,
	}
	if d.Verdict != policy.Forwarded {
		e.DropReason = d.Reason
	}
	c.h.event(e)
}
