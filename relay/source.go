package relay

import (
	"context"
	"errors"
	"io"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// firstRetry is the wait before a node that was lost is asked again; it doubles up to maxRetry.
const firstRetry = time.Second

// what is a kind of news about a node.
type what uint8

const (
	// connected: it takes the question.
	connected what = iota
	// flowed: it sent a flow, or how many it lost.
	flowed
	// past: it has sent what it had kept; what follows is new.
	past
	// ended: its stream is over, with the reason if it should not be.
	ended
)

// news is what a source tells the merger.
type news struct {
	from *source
	what what
	res  *observerpb.GetFlowsResponse
	err  error
}

// source reads the flows of one node for one client. All but its goroutine's own is the
// merger's.
type source struct {
	*peer
	// room has a place for each flow that may wait to be put in order.
	room chan struct{}
	stop context.CancelFunc
	// waiting is how many flows of it the merger holds.
	waiting int
	// keeps is true until it has sent what it had kept.
	keeps bool
	// said is true once it was told of as connected or unavailable.
	said, lost bool
	// heard is when it was last heard of, or had no room to say anything.
	heard time.Time
}

// run asks once, or, with again, until ctx ends: then later questions are about what the
// node saw since the last flow that it sent.
func (s *source) run(ctx context.Context, req *observerpb.GetFlowsRequest, again bool, out chan<- news) {
	wait := firstRetry
	for {
		last, err := s.read(ctx, req, out)
		if !s.tell(ctx, out, news{from: s, what: ended, err: err}) || !again {
			return
		}
		if last != nil {
			wait = firstRetry
			req = proto.CloneOf(req)
			req.Number, req.Since = 0, timestamppb.New(last.AsTime().Add(1))
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, maxRetry)
	}
}

// read reads one stream to its end, and returns the time of its last flow.
func (s *source) read(ctx context.Context, req *observerpb.GetFlowsRequest, out chan<- news) (*timestamppb.Timestamp, error) {
	if req.GetFollow() {
		ctx = metadata.AppendToOutgoingContext(ctx, MarkKey, "1")
	}
	stream, err := s.observer().GetFlows(ctx, req)
	if err != nil {
		return nil, err
	}
	if _, err := stream.Header(); err != nil {
		return nil, err
	}
	if !s.tell(ctx, out, news{from: s, what: connected}) {
		return nil, ctx.Err()
	}
	var last *timestamppb.Timestamp
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			if req.GetFollow() && req.GetUntil() == nil {
				return last, status.Error(codes.Unavailable, "the node ended the stream")
			}
			return last, nil
		}
		if err != nil {
			return last, err
		}
		n := news{from: s, what: flowed, res: res}
		switch {
		case res.GetNodeStatus() != nil:
			n = news{from: s, what: past}
		case res.GetFlow() != nil:
			last = res.GetTime()
			select {
			case s.room <- struct{}{}:
			case <-ctx.Done():
				return last, ctx.Err()
			}
		}
		if !s.tell(ctx, out, n) {
			return last, ctx.Err()
		}
	}
}

func (s *source) tell(ctx context.Context, out chan<- news, n news) bool {
	select {
	case out <- n:
		return true
	case <-ctx.Done():
		return false
	}
}
