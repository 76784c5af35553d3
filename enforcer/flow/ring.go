package flow

import (
	"sync"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// ring holds the last flows, by the number that each was given: the first ever has 0.
// Flows in it are not changed any more.
type ring struct {
	mu    sync.Mutex
	flows []*flowpb.Flow
	// next is the number of the flow to come.
	next uint64
	// grown is closed when a flow comes; nil while nobody waits.
	grown chan struct{}
}

func newRing(room int) *ring { return &ring{flows: make([]*flowpb.Flow, room)} }

func (r *ring) add(flows ...*flowpb.Flow) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range flows {
		r.flows[r.next%uint64(len(r.flows))] = f
		r.next++
	}
	if r.grown != nil {
		close(r.grown)
		r.grown = nil
	}
}

// read appends to buf the flows from a number on, as many as buf has room for, and returns
// them with the number to go on from, and how many of those asked for are gone.
func (r *ring) read(from uint64, buf []*flowpb.Flow) (flows []*flowpb.Flow, next, lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if oldest := r.oldest(); from < oldest {
		lost, from = oldest-from, oldest
	}
	for from < r.next && len(buf) < cap(buf) {
		buf = append(buf, r.flows[from%uint64(len(r.flows))])
		from++
	}
	return buf, from, lost
}

// bounds are the numbers of the oldest flow that is kept and of the one to come.
func (r *ring) bounds() (oldest, next uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.oldest(), r.next
}

func (r *ring) oldest() uint64 {
	if room := uint64(len(r.flows)); r.next > room {
		return r.next - room
	}
	return 0
}

// wait returns a channel that is closed once the flow with that number is there.
func (r *ring) wait(number uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next > number {
		there := make(chan struct{})
		close(there)
		return there
	}
	if r.grown == nil {
		r.grown = make(chan struct{})
	}
	return r.grown
}

// each calls do for every flow that is kept.
func (r *ring) each(do func(*flowpb.Flow)) {
	buf := make([]*flowpb.Flow, 0, batch)
	from, end := r.bounds()
	for from < end {
		buf, from, _ = r.read(from, buf[:0])
		for _, f := range buf {
			do(f)
		}
	}
}
