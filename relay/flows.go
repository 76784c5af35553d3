package relay

import (
	"context"
	"fmt"
	"math"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const (
	// maxNumber is the most flows that may be asked for by number: they are all held until
	// the last node has answered. "All" is no number, and holds nothing.
	maxNumber = 1 << 16
	// maxWaiting bounds the flows of all nodes together that wait to be put in order, and
	// leastRoom and mostRoom what that makes for each.
	maxWaiting = 1 << 16
	leastRoom  = 8
	mostRoom   = 256
)

// GetFlows sends the flows of all nodes, ordered by time.
//
// Of a number of flows the newest (or, with first, the oldest) of the whole cluster are
// sent. Filters are the nodes' to apply: one that they do not know ends the stream.
func (r *Relay) GetFlows(req *observerpb.GetFlowsRequest, conn grpc.ServerStreamingServer[observerpb.GetFlowsResponse]) error {
	select {
	case r.clients <- struct{}{}:
		defer func() { <-r.clients }()
	default:
		r.metrics.refused.Inc()
		return status.Errorf(codes.ResourceExhausted, "%d clients read flows already", maxClients)
	}
	req, err := bounded(req)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	ctx, cancel := context.WithCancel(conn.Context())
	defer cancel()
	peers, err := r.all(ctx)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	if err := conn.SendHeader(nil); err != nil {
		return err
	}
	r.metrics.streams.Inc()
	m := newMerger(r, req, len(peers), r.counted(conn.Send))
	defer m.group.Wait()
	defer cancel()
	for _, p := range peers {
		m.begin(ctx, p)
	}
	err = m.run(ctx)
	if conn.Context().Err() != nil {
		return status.FromContextError(conn.Context().Err()).Err()
	}
	return err
}

// bounded returns the request for each node. Clients ask for the largest number when they
// want everything.
func bounded(req *observerpb.GetFlowsRequest) (*observerpb.GetFlowsRequest, error) {
	req = proto.CloneOf(req)
	if req.GetNumber() == math.MaxUint64 {
		req.Number = 0
		if req.GetFollow() && req.GetSince() == nil {
			req.Since = timestamppb.New(time.Unix(0, 0)) // else only what comes is meant
		}
	}
	if req.GetNumber() > maxNumber {
		return nil, fmt.Errorf("number: %d flows of the whole cluster are more than %d; ask for all of them, or by time", req.GetNumber(), maxNumber)
	}
	return req, nil
}

// roomFor is how many flows of each node may wait.
func roomFor(nodes int) int { return min(max(maxWaiting/max(nodes, 1), leastRoom), mostRoom) }
