package flow

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/relay"
)

// maxStreams is how many clients may read flows at the same time.
const maxStreams = 32

// batch is how many flows are taken from the ring at a time.
const batch = 256

// observer is Hubble's API over a Recorder.
type observer struct {
	observerpb.UnimplementedObserverServer
	recorder *Recorder
	// streams has room for as many clients as may read.
	streams chan struct{}
}

// GetFlows sends the flows that are kept, and, where the client follows, those that come.
func (o observer) GetFlows(req *observerpb.GetFlowsRequest, conn grpc.ServerStreamingServer[observerpb.GetFlowsResponse]) error {
	select {
	case o.streams <- struct{}{}:
		defer func() { <-o.streams }()
	default:
		return status.Errorf(codes.ResourceExhausted, "%d clients read flows already", maxStreams)
	}
	q, err := newQuery(req)
	if err != nil {
		return status.Error(codes.InvalidArgument, err.Error())
	}
	if err := o.mark(conn, &q); err != nil {
		return err
	}
	err = q.run(conn.Context(), o.recorder.ring, o.recorder.counted(conn.Send))
	if conn.Context().Err() != nil {
		return status.FromContextError(conn.Context().Err()).Err()
	}
	return err
}

// mark lets a relay know at once that it is heard, and, if it asks for that, where what is
// kept ends.
func (o observer) mark(conn grpc.ServerStreamingServer[observerpb.GetFlowsResponse], q *query) error {
	asked := len(metadata.ValueFromIncomingContext(conn.Context(), relay.MarkKey)) > 0
	if asked && q.follow {
		q.past = &observerpb.GetFlowsResponse{ResponseTypes: &observerpb.GetFlowsResponse_NodeStatus{
			NodeStatus: &relaypb.NodeStatusEvent{StateChange: relaypb.NodeState_NODE_CONNECTED, NodeNames: []string{o.recorder.config.Node}},
		}}
	}
	return conn.SendHeader(nil)
}

// ServerStatus says how many flows there are and were.
func (o observer) ServerStatus(context.Context, *observerpb.ServerStatusRequest) (*observerpb.ServerStatusResponse, error) {
	r := o.recorder
	oldest, next := r.ring.bounds()
	return &observerpb.ServerStatusResponse{
		NumFlows: next - oldest, MaxFlows: uint64(r.config.Room), SeenFlows: next,
		UptimeNs: uint64(r.uptime()), Version: r.config.Version, FlowsRate: r.rate(),
	}, nil
}

// GetNodes returns this node.
func (o observer) GetNodes(context.Context, *observerpb.GetNodesRequest) (*observerpb.GetNodesResponse, error) {
	r := o.recorder
	oldest, next := r.ring.bounds()
	return &observerpb.GetNodesResponse{Nodes: []*observerpb.Node{{
		Name: r.config.Node, Version: r.config.Version, State: relaypb.NodeState_NODE_CONNECTED,
		UptimeNs: uint64(r.uptime()), NumFlows: next - oldest, MaxFlows: uint64(r.config.Room), SeenFlows: next,
	}}}, nil
}

// GetAgentEvents says what is so on the node now.
func (o observer) GetAgentEvents(_ *observerpb.GetAgentEventsRequest, conn grpc.ServerStreamingServer[observerpb.GetAgentEventsResponse]) error {
	c := o.recorder.config
	if c.Facts == nil {
		return nil
	}
	event, err := c.Facts().Event(c.Node)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return conn.Send(event)
}

// GetNamespaces returns the namespaces of the flows that are kept, of the last hour.
func (o observer) GetNamespaces(context.Context, *observerpb.GetNamespacesRequest) (*observerpb.GetNamespacesResponse, error) {
	type place struct{ cluster, namespace string }
	seen := map[place]bool{}
	hourAgo := o.recorder.config.Now().Add(-time.Hour)
	o.recorder.ring.each(func(f *flowpb.Flow) {
		if timeOf(f).Before(hourAgo) {
			return
		}
		for _, e := range []*flowpb.Endpoint{f.GetSource(), f.GetDestination()} {
			if e.GetNamespace() != "" {
				seen[place{e.GetClusterName(), e.GetNamespace()}] = true
			}
		}
	})
	sorted := slices.SortedFunc(maps.Keys(seen), func(a, b place) int {
		if c := strings.Compare(a.cluster, b.cluster); c != 0 {
			return c
		}
		return strings.Compare(a.namespace, b.namespace)
	})
	out := &observerpb.GetNamespacesResponse{}
	for _, p := range sorted {
		out.Namespaces = append(out.Namespaces, &observerpb.Namespace{Cluster: p.cluster, Namespace: p.namespace})
	}
	return out, nil
}

func (r *Recorder) uptime() time.Duration { return max(r.config.Now().Sub(r.start), 0) }

// rate is the flows of the last minute for each second of it.
func (r *Recorder) rate() float64 {
	const window = time.Minute
	from, n := r.config.Now().Add(-window), 0
	r.ring.each(func(f *flowpb.Flow) {
		if timeOf(f).After(from) {
			n++
		}
	})
	return float64(n) / min(window, max(r.uptime(), time.Second)).Seconds()
}

// counted counts the flows that a reader is told are gone.
func (r *Recorder) counted(next send) send {
	if r.config.Metrics == nil {
		return next
	}
	return func(res *observerpb.GetFlowsResponse) error {
		if lost := res.GetLostEvents(); lost != nil {
			r.config.Metrics.Lost(lost.GetSource(), lost.GetNumEventsLost())
		}
		return next(res)
	}
}
