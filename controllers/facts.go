package controllers

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// policyFacts is all that a policy's status says, before it is put into words.
type policyFacts struct {
	policyRecord
	// nodes are those that host a selected pod, by name.
	nodes       []nodeFacts
	hostNetwork []string
	total       tally
	last        denial
}

// nodeFacts is one node's part in a policy.
type nodeFacts struct {
	name string
	pods int
	// generation is the one that the node has in its data path; 0 if it has none.
	generation int64
	enforcing  bool
	// reason and message say why it does not.
	reason, message string
	// trouble is what is wrong on a node that may enforce nevertheless.
	trouble []string
	// failsOpen is true where connections may go on unjudged.
	failsOpen bool
	count     tally
	reported  time.Time
}

// facts returns those of every policy, by ref; none before the first publication.
func (f *fleet) facts() []policyFacts {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.current == nil {
		return nil
	}
	out := make([]policyFacts, 0, len(f.current.policies))
	for _, record := range f.current.policies {
		counts := f.counters.of(record.ref)
		facts := policyFacts{
			policyRecord: record, hostNetwork: f.current.hostNetwork[record.ref],
			total: counts.sum(), last: counts.last,
		}
		for _, name := range slices.Sorted(maps.Keys(f.current.nodes)) {
			if part, ok := f.current.nodes[name].policies[record.ref]; ok && len(part.pods) > 0 {
				node := f.nodeFacts(name, record, part)
				node.count = counts.nodes[name].sum()
				facts.nodes = append(facts.nodes, node)
			}
		}
		out = append(out, facts)
	}
	return out
}

// nodeFacts compares what the node must have of a policy with what it says it has.
func (f *fleet) nodeFacts(name string, of policyRecord, want nodePart) nodeFacts {
	n, ref := f.node(name), of.ref
	out := nodeFacts{name: name, pods: len(want.pods), reported: n.reported}
	record, known := n.inForce()
	unknown := slices.DeleteFunc(slices.Clone(want.needs), func(f string) bool { return !slices.Contains(n.lacks, f) })
	have, applied := record.policies[ref]
	if applied && have.uid == want.uid {
		out.generation = have.generation
	}
	if want.proxied && n.report != nil && !n.report.GetProxyReady() {
		trouble := "the proxy is not ready, and requests are refused"
		if of.failure == policy.FailOpen {
			trouble = "the proxy is not ready, and new connections that it cannot judge go on unjudged, as failurePolicy Open asks"
			out.failsOpen = true
		}
		out.trouble = append(out.trouble, trouble)
	}
	whole, single := n.problems(want)
	out.trouble = slices.Concat(out.trouble, whole, single)
	if len(unknown) > 0 {
		out.trouble = append(out.trouble, outdated(unknown))
	}
	switch {
	case !n.connected && n.lost.IsZero():
		out.reason, out.message = v1alpha1.ReasonNodeUnreachable, "no enforcer has connected"
	case !n.connected && f.now().Sub(n.lost) > grace:
		out.reason, out.message = v1alpha1.ReasonNodeUnreachable, "the enforcer is not connected"
	case known && applied && have.uid == want.uid && have.generation == want.generation &&
		holds(have.pods, want.pods) && f.clusters.numbers[n.report.GetClusterVersion()] >= f.neededFor(ref, want):
		if len(single) > 0 {
			out.reason, out.message = v1alpha1.ReasonNotEnforceable, strings.Join(single, "; ")
			break
		}
		if len(unknown) > 0 {
			out.reason, out.message = v1alpha1.ReasonNodeOutdated, outdated(unknown)
			break
		}
		out.enforcing = true
	case len(n.refused) > 0:
		out.reason, out.message = v1alpha1.ReasonNodeRejected, "refused: "+n.refused[slices.Sorted(maps.Keys(n.refused))[0]]
	case len(whole) > 0:
		out.reason, out.message = v1alpha1.ReasonNodeRejected, strings.Join(whole, "; ")
	default:
		out.reason, out.message = v1alpha1.ReasonPending, "not acknowledged yet"
	}
	return out
}

// outdated says what a node's enforcer does not know, and what becomes of it.
func outdated(features []string) string {
	return fmt.Sprintf("its enforcer is older than the operator and does not know %s: rules that need it allow nothing there; update the enforcer", strings.Join(features, ", "))
}

// neededFor is the number of the cluster version that was in force when the newest part
// of the policy was published.
func (f *fleet) neededFor(ref policy.Ref, want nodePart) uint64 {
	e := element{ref: ref, uid: want.uid, generation: want.generation}
	needed := max(1, f.published[e])
	for _, pod := range want.pods {
		e.pod = pod
		needed = max(needed, f.published[e])
	}
	return needed
}

// problems returns what the node says is wrong: with itself, and with the policy's own pods.
func (n *nodeState) problems(want nodePart) (whole, single []string) {
	for _, p := range n.report.GetProblems() {
		switch {
		case p.GetEndpoint() == "":
			whole = append(whole, p.GetMessage())
		case slices.ContainsFunc(want.pods, func(pod podID) bool { return pod.key == p.GetEndpoint() }):
			single = append(single, fmt.Sprintf("%s: %s", p.GetEndpoint(), p.GetMessage()))
		}
	}
	return whole, single
}

// holds says whether all of want is in have; both are in order.
func holds(have, want []podID) bool {
	for _, pod := range want {
		if _, ok := slices.BinarySearchFunc(have, pod, comparePods); !ok {
			return false
		}
	}
	return true
}

// enforcing counts the nodes that enforce, and their pods.
func (p policyFacts) enforcing() (nodes, pods int) {
	for _, n := range p.nodes {
		pods += n.pods
		if n.enforcing {
			nodes++
		}
	}
	return nodes, pods
}

// worst orders the nodes that do not enforce by what a reader has to know first.
func (p policyFacts) worst() []nodeFacts {
	rank := map[string]int{
		v1alpha1.ReasonNotEnforceable: 0, v1alpha1.ReasonNodeRejected: 1, v1alpha1.ReasonNodeOutdated: 2, v1alpha1.ReasonNodeUnreachable: 3, v1alpha1.ReasonPending: 4,
	}
	var out []nodeFacts
	for _, n := range p.nodes {
		if !n.enforcing {
			out = append(out, n)
		}
	}
	slices.SortStableFunc(out, func(a, b nodeFacts) int { return cmp.Compare(rank[a.reason], rank[b.reason]) })
	return out
}
