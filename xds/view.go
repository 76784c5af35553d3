package xds

import (
	"fmt"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Update is a consistent state of what the node must enforce.
type Update struct {
	NodePolicy policy.NodePolicy
	// NodeVersion and ClusterVersion are the checkpoints that NodePolicy is made of:
	// a NodeReport names them once the data path holds it.
	NodeVersion, ClusterVersion string
	// State is the same as it came, for [SaveState].
	State State
}

// view is what a node knows: what it was sent, and of each type the last that was good.
type view struct {
	name        string
	sentNode    held[*septumpb.NodeResource]
	sentCluster held[*septumpb.ClusterResource]

	goodNode    *held[*septumpb.NodeResource]
	goodCluster *held[*septumpb.ClusterResource]
	node        policy.NodePolicy
	addresses   []policy.Address
	identities  []policy.IdentityLabels
}

// outcome is what is to be done after a response.
type outcome struct {
	changed bool
	// refused is why the response is not used; the last good state stays.
	refused error
	// broken is set when what is held is not what the server has.
	broken bool
}

func (v *view) apply(response *discovery.DeltaDiscoveryResponse) outcome {
	var err error
	switch response.GetTypeUrl() {
	case NodeType:
		var next held[*septumpb.NodeResource]
		if next, err = v.sentNode.apply(response, emptyNode); err != nil {
			v.sentNode = held[*septumpb.NodeResource]{}
			return outcome{refused: err, broken: true}
		}
		err = v.setNode(next)
	case ClusterType:
		var next held[*septumpb.ClusterResource]
		if next, err = v.sentCluster.apply(response, emptyCluster); err != nil {
			v.sentCluster = held[*septumpb.ClusterResource]{}
			return outcome{refused: err, broken: true}
		}
		err = v.setCluster(next)
	default:
		return outcome{refused: fmt.Errorf("nothing of type %s was asked for", quote(response.GetTypeUrl())), broken: true}
	}
	if err != nil {
		return outcome{refused: err}
	}
	return outcome{changed: len(response.GetResources())+len(response.GetRemovedResources()) > 0}
}

func (v *view) setNode(next held[*septumpb.NodeResource]) error {
	v.sentNode = next
	if err := next.understood(); err != nil {
		return err
	}
	node, err := assembleNode(v.name, next.messages())
	if err != nil {
		return err
	}
	v.node, v.goodNode = node, &next
	return nil
}

func (v *view) setCluster(next held[*septumpb.ClusterResource]) error {
	v.sentCluster = next
	addresses, identities, err := assembleCluster(v.name, next.messages())
	if err != nil {
		return err
	}
	v.addresses, v.identities, v.goodCluster = addresses, identities, &next
	return nil
}

// update is the last good state, once there is one of both types.
func (v *view) update() (Update, bool) {
	if v.goodNode == nil || v.goodCluster == nil {
		return Update{}, false
	}
	np := v.node
	np.Addresses, np.Identities = v.addresses, v.identities
	return Update{
		NodePolicy: np, NodeVersion: v.goodNode.version, ClusterVersion: v.goodCluster.version,
		State: stateOf(v.name, *v.goodNode, *v.goodCluster),
	}, true
}
