package flow

import (
	"sync/atomic"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// record is an event in the ring: the numbers of its flows begin at first. It is not changed
// any more. Flows are made of it when somebody reads them: most never are.
type record struct {
	first uint64
	converter
	parts []part
}

func (r *record) holds(number uint64) bool {
	return number >= r.first && number < r.first+uint64(len(r.parts))
}

func (r *record) flow(number uint64) *flowpb.Flow { return r.parts[number-r.first].flow(r.converter) }

// ring holds the last flows, by the number that each was given: the first ever has 0. One
// goroutine adds, any others may read; nobody waits for a lock.
type ring struct {
	slots []atomic.Pointer[record]
	// next is the number of the flow to come.
	next atomic.Uint64
	// grown is closed when a flow comes; nil while nobody waits.
	grown atomic.Pointer[chan struct{}]
}

func newRing(room int) *ring { return &ring{slots: make([]atomic.Pointer[record], room)} }

func (r *ring) slot(number uint64) *atomic.Pointer[record] {
	return &r.slots[number%uint64(len(r.slots))]
}

func (r *ring) add(c converter, parts []part) {
	rec := &record{first: r.next.Load(), converter: c, parts: parts}
	end := rec.first + uint64(len(rec.parts))
	for n := rec.first; n < end; n++ {
		r.slot(n).Store(rec)
	}
	r.next.Store(end)
	if grown := r.grown.Swap(nil); grown != nil {
		close(*grown)
	}
}

// read appends to buf the flows from a number on, as many as buf has room for, and returns
// them with the number to go on from, and how many of those asked for are gone.
func (r *ring) read(from uint64, buf []*flowpb.Flow) (flows []*flowpb.Flow, next, lost uint64) {
	oldest, end := r.bounds()
	if from < oldest {
		lost, from = oldest-from, oldest
	}
	for from < end && len(buf) < cap(buf) {
		rec := r.slot(from).Load()
		if !rec.holds(from) { // overwritten meanwhile
			if len(buf) > 0 {
				break
			}
			lost, from = lost+1, from+1
			continue
		}
		buf = append(buf, rec.flow(from))
		from++
	}
	return buf, from, lost
}

// bounds are the numbers of the oldest flow that is kept and of the one to come.
func (r *ring) bounds() (oldest, next uint64) {
	next = r.next.Load()
	if room := uint64(len(r.slots)); next > room {
		return next - room, next
	}
	return 0, next
}

// wait returns a channel that is closed once the flow with that number is there.
func (r *ring) wait(number uint64) <-chan struct{} {
	mine := make(chan struct{})
	for {
		there := r.grown.Load()
		if there == nil {
			if !r.grown.CompareAndSwap(nil, &mine) {
				continue
			}
			there = &mine
		}
		// The flow may have come before there was a channel to close.
		if r.next.Load() > number {
			come := make(chan struct{})
			close(come)
			return come
		}
		return *there
	}
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
