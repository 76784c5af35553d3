package relay

import (
	"context"
	"maps"
	"slices"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// statuses are what is still to be told of nodes: names by what became of them and why.
type statuses struct {
	changes map[change][]string
}

type change struct {
	state   relaypb.NodeState
	message string
}

func (s *statuses) note(state relaypb.NodeState, message, node string) {
	if s.changes == nil {
		s.changes = map[change][]string{}
	}
	c := change{state, message}
	s.changes[c] = append(s.changes[c], node)
}

func (s *statuses) connected(node string) { s.note(relaypb.NodeState_NODE_CONNECTED, "", node) }

func (s *statuses) unavailable(node, why string) {
	s.note(relaypb.NodeState_NODE_UNAVAILABLE, why, node)
}

func (s *statuses) gone(node string) { s.note(relaypb.NodeState_NODE_GONE, "", node) }

// tell sends what became of nodes, in one message for each kind; while nodes have yet to
// say anything at all, it waits for them.
func (m *merger) tell() error {
	for _, s := range m.sources {
		if !s.said {
			return nil
		}
	}
	order := func(a, b change) int {
		if a.state != b.state {
			return int(a.state) - int(b.state)
		}
		if a.message < b.message {
			return -1
		}
		return 1
	}
	now := timestamppb.New(m.relay.config.Now())
	for _, c := range slices.SortedFunc(maps.Keys(m.statuses.changes), order) {
		names := m.statuses.changes[c]
		slices.Sort(names)
		err := m.send(&observerpb.GetFlowsResponse{Time: now, ResponseTypes: &observerpb.GetFlowsResponse_NodeStatus{
			NodeStatus: &relaypb.NodeStatusEvent{StateChange: c.state, NodeNames: names, Message: c.message},
		}})
		if err != nil {
			return err
		}
	}
	m.statuses.changes = nil
	return nil
}

// look asks nodes that are new, and leaves those that are gone.
func (m *merger) look(ctx context.Context) {
	peers, err := m.relay.all(ctx)
	if err != nil {
		return // they are looked for again
	}
	there := make(map[Node]bool, len(peers))
	for _, p := range peers {
		there[p.Node] = true
		if m.sources[p.Node] == nil && m.live {
			m.begin(ctx, p)
		}
	}
	for n, s := range m.sources {
		if !there[n] {
			s.stop()
			delete(m.sources, n)
			m.statuses.gone(n.Name)
		}
	}
}
