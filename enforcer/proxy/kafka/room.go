package kafka

import (
	"context"
	"net/netip"
	"sync"

	"golang.org/x/sync/semaphore"
)

// room bounds the memory of large requests: all together have largeRoom, and those of one
// client clientRoom of it, so that none can keep the others out. A request that is larger than
// that takes the client's whole part, and its turn after the other such requests.
type room struct {
	all, huge *semaphore.Weighted
	// buffers are kept while few use them: a large buffer for each request would have the
	// collector at work all the time.
	buffers chan []byte

	mu      sync.Mutex
	clients map[netip.Addr]*part
}

// part is one client's. It is forgotten when no request uses it.
type part struct {
	*semaphore.Weighted
	users int
}

func newRoom() *room {
	return &room{
		all: semaphore.NewWeighted(largeRoom), huge: semaphore.NewWeighted(1), clients: map[netip.Addr]*part{},
		buffers: make(chan []byte, keptBuffers),
	}
}

// acquire waits for room for a client's request, and returns what gives it back. A client
// waits for its own part first: what it has too much of waits in front of nobody.
func (r *room) acquire(ctx context.Context, client netip.Addr, size int64) (release func(), err error) {
	own := r.part(client)
	taken := min(size, clientRoom)
	if err := own.Acquire(ctx, taken); err != nil {
		r.leave(client)
		return nil, err
	}
	shared, weight := r.all, taken
	if size > clientRoom {
		shared, weight = r.huge, 1
	}
	if err := shared.Acquire(ctx, weight); err != nil {
		own.Release(taken)
		r.leave(client)
		return nil, err
	}
	return func() {
		shared.Release(weight)
		own.Release(taken)
		r.leave(client)
	}, nil
}

func (r *room) part(client netip.Addr) *part {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.clients[client]
	if p == nil {
		p = &part{Weighted: semaphore.NewWeighted(clientRoom)}
		r.clients[client] = p
	}
	p.users++
	return p
}

func (r *room) leave(client netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.clients[client]; p.users > 1 {
		p.users--
		return
	}
	delete(r.clients, client)
}

// buffer is one of pooled bytes, which keep takes back.
func (r *room) buffer() []byte {
	select {
	case b := <-r.buffers:
		return b
	default:
		return make([]byte, 0, pooled)
	}
}

func (r *room) keep(b []byte) {
	select {
	case r.buffers <- b:
	default:
	}
}
