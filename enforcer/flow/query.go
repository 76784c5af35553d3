package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// query is one GetFlows.
type query struct {
	selection
	since, until time.Time
	// number is how many flows of those that are kept are wanted; 0 is all.
	number uint64
	// first means the oldest number of them, not the newest.
	first, follow bool
	mask          mask
	// past is sent after what is kept; nil where nobody asked for it.
	past *observerpb.GetFlowsResponse
}

func newQuery(req *observerpb.GetFlowsRequest) (query, error) {
	q := query{number: req.GetNumber(), first: req.GetFirst(), follow: req.GetFollow()}
	if q.first && q.follow {
		return q, errors.New("first and follow exclude each other")
	}
	var err error
	if q.selection, err = newSelection(req.GetWhitelist(), req.GetBlacklist()); err != nil {
		return q, err
	}
	if q.mask, err = newMask(req.GetFieldMask()); err != nil {
		return q, err
	}
	if q.since, err = moment("since", req.GetSince()); err != nil {
		return q, err
	}
	q.until, err = moment("until", req.GetUntil())
	return q, err
}

// moment is the zero value for what is not given.
func moment(name string, t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	if err := t.CheckValid(); err != nil {
		return time.Time{}, fmt.Errorf("%s: %w", name, err)
	}
	return t.AsTime(), nil
}

// wants is true for what the query selects.
func (q query) wants(f *flowpb.Flow) bool {
	at := timeOf(f)
	return !at.Before(q.since) && (q.until.IsZero() || !at.After(q.until)) && q.has(f)
}

type send func(*observerpb.GetFlowsResponse) error

// run sends what is kept, and then, for one who follows, what comes, until ctx ends or the
// time that the query names is over.
func (q query) run(ctx context.Context, r *ring, send send) error {
	start, end := r.bounds()
	if q.follow && q.number == 0 && q.since.IsZero() {
		start = end // one who only follows wants nothing of before
	}
	start, number := q.begin(r, start, end)
	next, err := q.copy(ctx, r, start, end, number, send)
	if err != nil || !q.follow {
		return err
	}
	if q.past != nil {
		if err := send(q.past); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-q.over():
			return nil
		case <-r.wait(next):
		}
		_, end := r.bounds()
		if next, err = q.copy(ctx, r, next, end, 0, send); err != nil {
			return err
		}
	}
}

// over is a channel that says when the time until which is asked for is over; nil if there is none.
func (q query) over() <-chan time.Time {
	if q.until.IsZero() {
		return nil
	}
	return time.After(time.Until(q.until))
}

// begin returns where to begin so that the newest number of wanted flows are sent, and how
// many may be sent at most.
func (q query) begin(r *ring, start, end uint64) (from, number uint64) {
	if q.number == 0 || q.first {
		return start, q.number
	}
	var wanted []uint64
	room := min(q.number, end-start)
	buf := make([]*flowpb.Flow, 0, batch)
	for at := start; at < end; {
		buf, at, _ = r.read(at, buf[:0])
		for i, f := range buf {
			if q.wants(f) {
				wanted = append(wanted, at-uint64(len(buf)-i))
			}
		}
		if over := len(wanted) - int(room); over > 0 {
			wanted = wanted[over:]
		}
	}
	if len(wanted) == 0 {
		return end, 0
	}
	return wanted[0], 0
}

// copy sends the wanted flows from one number to another, at most as many as number if that
// is not 0, and says how many of them were overwritten before they could be sent.
func (q query) copy(ctx context.Context, r *ring, from, end, number uint64, send send) (next uint64, err error) {
	buf := make([]*flowpb.Flow, 0, batch)
	sent := uint64(0)
	for from < end {
		var lost uint64
		buf, from, lost = r.read(from, buf[:0])
		if lost > 0 {
			if err := send(lostResponse(lost)); err != nil {
				return from, err
			}
		}
		for _, f := range buf {
			if ctx.Err() != nil {
				return from, ctx.Err()
			}
			if !q.wants(f) {
				continue
			}
			if err := send(response(q.mask.apply(f), f)); err != nil {
				return from, err
			}
			if sent++; sent == number {
				return from, nil
			}
		}
	}
	return from, nil
}

func response(shown, f *flowpb.Flow) *observerpb.GetFlowsResponse {
	return &observerpb.GetFlowsResponse{
		ResponseTypes: &observerpb.GetFlowsResponse_Flow{Flow: shown}, NodeName: f.GetNodeName(), Time: f.GetTime(),
	}
}

func lostResponse(n uint64) *observerpb.GetFlowsResponse {
	return &observerpb.GetFlowsResponse{ResponseTypes: &observerpb.GetFlowsResponse_LostEvents{LostEvents: &flowpb.LostEvent{
		Source: flowpb.LostEventSource_HUBBLE_RING_BUFFER, NumEventsLost: n,
	}}}
}
