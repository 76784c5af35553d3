// Package facts is what a node's enforcer says of itself when it is asked: for people who
// look for what is wrong. It travels as one of Hubble's agent events, beside the flows and
// by the same way, so that it needs no port, no right and no storage of its own.
package facts

import (
	"encoding/json"
	"fmt"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// eventType is the type by which the event is known.
const eventType = "septum.dev/node"

// MaxProblems bounds the problems that are told one by one.
const MaxProblems = 64

// Node is what is so on a node now.
type Node struct {
	// Kernel is its release, such as "6.8.0-31-generic".
	Kernel string `json:"kernel"`
	// BTF says whether the kernel describes its types, which the programs need.
	BTF bool `json:"btf"`
	// Time is the node's clock.
	Time time.Time `json:"time"`
	// CertificateEnds is when the enforcer's certificate does; zero while it has none.
	CertificateEnds time.Time `json:"certificateEnds,omitzero"`
	// NodeVersion and ClusterVersion are the checkpoints in the data path; "" before the first.
	NodeVersion    string `json:"nodeVersion"`
	ClusterVersion string `json:"clusterVersion"`
	// ProxyReady says whether the node's proxy has what is in force.
	ProxyReady bool `json:"proxyReady"`
	// CNI is "off" where no plugin is wanted, "installed", or why it is not.
	CNI string `json:"cni"`
	// Problems are the first of what cannot be enforced; More is how many others there are.
	Problems []Problem `json:"problems,omitempty"`
	More     int       `json:"more,omitempty"`
}

// Problem is something that the node cannot enforce.
type Problem struct {
	// Pod is "namespace/name"; "" if it is about the whole node.
	Pod     string `json:"pod,omitempty"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Event is the node's answer.
func (n Node) Event(name string) (*observerpb.GetAgentEventsResponse, error) {
	if over := len(n.Problems) - MaxProblems; over > 0 {
		n.Problems, n.More = n.Problems[:MaxProblems], n.More+over
	}
	text, err := json.Marshal(n)
	if err != nil {
		return nil, fmt.Errorf("encode the node's facts: %w", err)
	}
	return &observerpb.GetAgentEventsResponse{
		NodeName: name, Time: timestamppb.New(n.Time),
		AgentEvent: &flowpb.AgentEvent{Type: flowpb.AgentEventType_AGENT_EVENT_UNKNOWN, Notification: &flowpb.AgentEvent_Unknown{
			Unknown: &flowpb.AgentEventUnknown{Type: eventType, Notification: string(text)},
		}},
	}, nil
}

// Of reads a node's answer; false is another event.
func Of(res *observerpb.GetAgentEventsResponse) (Node, bool, error) {
	var n Node
	unknown := res.GetAgentEvent().GetUnknown()
	if unknown.GetType() != eventType {
		return n, false, nil
	}
	if err := json.Unmarshal([]byte(unknown.GetNotification()), &n); err != nil {
		return n, false, fmt.Errorf("read the facts of node %q: %w", res.GetNodeName(), err)
	}
	return n, true, nil
}
