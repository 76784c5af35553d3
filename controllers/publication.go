package controllers

import (
	"maps"
	"slices"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

// policyRecord is a policy as it was compiled.
type policyRecord struct {
	ref        policy.Ref
	uid        string
	generation int64
	mode       policy.Mode
	failure    policy.Failure
	problems   []policy.Problem
}

// nodeRecord is what one version of a node's resources holds. A node that reports the
// version has all of it in its data path.
type nodeRecord struct {
	version string
	// policies has what of each policy is on the node.
	policies map[policy.Ref]nodePart
}

// nodePart is a policy's part on a node.
type nodePart struct {
	uid        string
	generation int64
	// pods are the selected pods that can be enforced, each as its key and UID, in order.
	pods []podID
	// proxied is true where the policy has rules that only the proxy can judge.
	proxied bool
	// needs are the features that the node must know to judge by all of the policy.
	needs []string
}

type podID struct{ key, uid string }

// publication is one compile: what the nodes are served, and what is to be said about it.
type publication struct {
	policies       []policyRecord
	nodes          map[string]nodeRecord
	clusterVersion string
	// hostNetwork are the selected pods that cannot be enforced, by key.
	hostNetwork map[policy.Ref][]string
	counts      map[string]int
}

// uids are those of the policies.
func (p *publication) uids() map[policy.Ref]string {
	out := make(map[policy.Ref]string, len(p.policies))
	for _, record := range p.policies {
		out[record.ref] = record.uid
	}
	return out
}

// publisher makes publications, one after the other; of what did not change it makes nothing
// anew. The zero value is ready; it is for one goroutine.
type publisher struct {
	compiler policy.Compiler
	// compiled is the last result, cluster and nodes what was made of it.
	compiled *policy.Compiled
	cluster  map[string]*septumpb.ClusterResource
	nodes    map[string]nodePublication
}

// nodePublication is one node's part of a publication.
type nodePublication struct {
	resources       map[string]*septumpb.NodeResource
	record          nodeRecord
	tables, classes int
}

// publish makes the resources of a compile and the record of what they hold.
func (p *publisher) publish(snapshot policy.Snapshot, problems []policy.Problem) (xds.Publication, *publication, error) {
	compiled := p.compiler.Compile(snapshot)
	addresses, identities := compiled.Cluster()
	cluster := p.cluster
	if p.compiled == nil || !compiled.SameCluster(p.compiled) {
		var err error
		if cluster, err = xds.ClusterResources(policy.NodePolicy{Addresses: addresses, Identities: identities}); err != nil {
			return xds.Publication{}, nil, err
		}
	}
	served := xds.Publication{Cluster: cluster, Nodes: make(map[string]map[string]*septumpb.NodeResource, len(snapshot.Nodes))}
	record := &publication{
		policies:       policyRecords(snapshot.Policies, problems, compiled.Problems()),
		nodes:          make(map[string]nodeRecord, len(snapshot.Nodes)),
		clusterVersion: cluster[xds.CheckpointName].GetCheckpoint().GetVersion(),
		hostNetwork:    map[policy.Ref][]string{},
		counts: map[string]int{
			"policy": len(snapshot.Policies), "endpoint": len(snapshot.Endpoints),
			"address": len(addresses), "identity": len(identities),
		},
	}
	selected := compiled.Selected()
	nodes := make(map[string]nodePublication, len(snapshot.Nodes))
	var writer xds.NodeWriter
	for _, node := range nodeNames(snapshot.Nodes, selected) {
		part, known := p.nodes[node]
		if !known || !compiled.SameNode(p.compiled, node) {
			var err error
			if part, err = publishNode(compiled.Local(node), &writer, selected); err != nil {
				return xds.Publication{}, nil, err
			}
		}
		nodes[node], served.Nodes[node], record.nodes[node] = part, part.resources, part.record
		record.counts["table"] += part.tables
		record.counts["class"] += part.classes
	}
	for ref, pods := range selected {
		for _, pod := range pods {
			if pod.HostNetwork {
				record.hostNetwork[ref] = append(record.hostNetwork[ref], pod.Key)
			}
		}
	}
	p.compiled, p.cluster, p.nodes = compiled, cluster, nodes
	return served, record, nil
}

func publishNode(np policy.NodePolicy, writer *xds.NodeWriter, selected map[policy.Ref][]policy.Selected) (nodePublication, error) {
	resources, err := writer.Resources(np)
	if err != nil {
		return nodePublication{}, err
	}
	return nodePublication{
		resources: resources, tables: len(np.Tables), classes: len(np.Classes),
		record: nodeRecord{
			version:  resources[xds.CheckpointName].GetCheckpoint().GetVersion(),
			policies: partsOf(np, selected, xds.Needs(resources)),
		},
	}, nil
}

// nodeNames are the cluster's nodes, and those that host a selected pod although their
// object is gone: what is on them must not drop out of the policy's status.
func nodeNames(nodes []policy.Node, selected map[policy.Ref][]policy.Selected) []string {
	names := map[string]bool{}
	for _, n := range nodes {
		names[n.Name] = true
	}
	for _, pods := range selected {
		for _, pod := range pods {
			names[pod.Node] = pod.Node != ""
		}
	}
	delete(names, "")
	return slices.Sorted(maps.Keys(names))
}

func policyRecords(policies []policy.Policy, problems ...[]policy.Problem) []policyRecord {
	byRef := map[policy.Ref][]policy.Problem{}
	for _, list := range problems {
		for _, p := range list {
			byRef[p.Policy] = append(byRef[p.Policy], p)
		}
	}
	out := make([]policyRecord, 0, len(policies))
	for _, p := range policies {
		out = append(out, policyRecord{ref: p.Ref, uid: p.UID, generation: p.Generation, mode: p.Mode, failure: p.Failure, problems: byRef[p.Ref]})
	}
	return out
}

// partsOf says what a node holds of each policy that selects one of its pods.
func partsOf(np policy.NodePolicy, selected map[policy.Ref][]policy.Selected, needs map[policy.Ref][]string) map[policy.Ref]nodePart {
	uids := make(map[string]string, len(np.Endpoints))
	for _, e := range np.Endpoints {
		uids[e.Key] = e.UID
	}
	proxied := map[policy.Ref]bool{}
	for _, class := range np.Classes {
		for _, rule := range class.HTTP {
			proxied[rule.ID.Policy] = true
		}
		for _, rule := range class.Kafka {
			proxied[rule.ID.Policy] = true
		}
		for _, rule := range class.TLS {
			proxied[rule.ID.Policy] = true
		}
	}
	out := make(map[policy.Ref]nodePart, len(np.Applied))
	for _, applied := range np.Applied {
		part := nodePart{uid: applied.UID, generation: applied.Generation, proxied: proxied[applied.Ref], needs: needs[applied.Ref]}
		for _, pod := range selected[applied.Ref] {
			if pod.Node == np.Node && !pod.HostNetwork {
				part.pods = append(part.pods, podID{pod.Key, uids[pod.Key]})
			}
		}
		slices.SortFunc(part.pods, comparePods)
		out[applied.Ref] = part
	}
	return out
}
