package relay

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// answer is what one node says.
type answer[T any] struct {
	node Node
	is   T
	err  error
}

// ask puts one question to all nodes at once. Who has not answered in time has an error.
func ask[T any](ctx context.Context, r *Relay, question func(context.Context, observerpb.ObserverClient) (T, error)) ([]answer[T], error) {
	peers, err := r.all(ctx)
	if err != nil {
		return nil, status.Error(codes.Unavailable, err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, r.config.Patience)
	defer cancel()
	out := make([]answer[T], len(peers))
	var group sync.WaitGroup
	for i, p := range peers {
		group.Go(func() {
			is, err := question(ctx, p.observer())
			out[i] = answer[T]{p.Node, is, err}
		})
	}
	group.Wait()
	slices.SortFunc(out, func(a, b answer[T]) int { return cmp.Compare(a.node.Name, b.node.Name) })
	return out, nil
}

func (r *Relay) nodeStatus(ctx context.Context) ([]answer[*observerpb.ServerStatusResponse], error) {
	return ask(ctx, r, func(ctx context.Context, c observerpb.ObserverClient) (*observerpb.ServerStatusResponse, error) {
		return c.ServerStatus(ctx, &observerpb.ServerStatusRequest{})
	})
}

// ServerStatus sums up the nodes'.
func (r *Relay) ServerStatus(ctx context.Context, _ *observerpb.ServerStatusRequest) (*observerpb.ServerStatusResponse, error) {
	answers, err := r.nodeStatus(ctx)
	if err != nil {
		return nil, err
	}
	out := &observerpb.ServerStatusResponse{Version: r.config.Version, UptimeNs: uint64(max(r.config.Now().Sub(r.start), time.Duration(0)))}
	connected := uint32(0)
	for _, a := range answers {
		if a.err != nil {
			out.UnavailableNodes = append(out.UnavailableNodes, a.node.Name)
			continue
		}
		connected++
		out.NumFlows += a.is.GetNumFlows()
		out.MaxFlows += a.is.GetMaxFlows()
		out.SeenFlows += a.is.GetSeenFlows()
		out.FlowsRate += a.is.GetFlowsRate()
	}
	out.NumConnectedNodes = wrapperspb.UInt32(connected)
	out.NumUnavailableNodes = wrapperspb.UInt32(uint32(len(out.UnavailableNodes)))
	return out, nil
}

// GetNodes returns all nodes, also those that do not answer.
func (r *Relay) GetNodes(ctx context.Context, _ *observerpb.GetNodesRequest) (*observerpb.GetNodesResponse, error) {
	answers, err := r.nodeStatus(ctx)
	if err != nil {
		return nil, err
	}
	out := &observerpb.GetNodesResponse{}
	for _, a := range answers {
		n := &observerpb.Node{
			Name: a.node.Name, Address: a.node.Address, State: relaypb.NodeState_NODE_UNAVAILABLE, Tls: &observerpb.TLS{Enabled: true},
		}
		if a.err == nil {
			n.State, n.Version, n.UptimeNs = relaypb.NodeState_NODE_CONNECTED, a.is.GetVersion(), a.is.GetUptimeNs()
			n.NumFlows, n.MaxFlows, n.SeenFlows = a.is.GetNumFlows(), a.is.GetMaxFlows(), a.is.GetSeenFlows()
		}
		out.Nodes = append(out.Nodes, n)
	}
	return out, nil
}

// GetNamespaces returns those of all nodes that answer.
func (r *Relay) GetNamespaces(ctx context.Context, _ *observerpb.GetNamespacesRequest) (*observerpb.GetNamespacesResponse, error) {
	answers, err := ask(ctx, r, func(ctx context.Context, c observerpb.ObserverClient) (*observerpb.GetNamespacesResponse, error) {
		return c.GetNamespaces(ctx, &observerpb.GetNamespacesRequest{})
	})
	if err != nil {
		return nil, err
	}
	out := &observerpb.GetNamespacesResponse{}
	for _, a := range answers {
		out.Namespaces = append(out.Namespaces, a.is.GetNamespaces()...)
	}
	order := func(a, b *observerpb.Namespace) int {
		return cmp.Or(cmp.Compare(a.GetCluster(), b.GetCluster()), cmp.Compare(a.GetNamespace(), b.GetNamespace()))
	}
	slices.SortFunc(out.Namespaces, order)
	out.Namespaces = slices.CompactFunc(out.Namespaces, func(a, b *observerpb.Namespace) bool { return order(a, b) == 0 })
	return out, nil
}
