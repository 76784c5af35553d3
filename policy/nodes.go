package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// nodeSet is nodes that no policy can tell apart.
type nodeSet struct {
	api bool
	// labels are those that policies name, as a text.
	labels nodeLabels
}

// nodeLabels is "key=value" lines, sorted.
type nodeLabels string

func (s nodeSet) asLabels(entity string) Labels {
	out := Labels{LabelReservedPrefix + entity: ""}
	if s.api {
		out[LabelReservedPrefix+"kube-apiserver"] = ""
	}
	for line := range strings.Lines(string(s.labels)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		out[key] = value
	}
	return out
}

func compareNodeSets(x, y nodeSet) int { return cmp.Compare(fmt.Sprint(x), fmt.Sprint(y)) }

// numberNodes fills hosts and nodeSets, and returns the identity of each set of nodes. Only
// labels that a policy names count, so that nodes share identities.
func (b *addressBook) numberNodes(s Snapshot) map[nodeSet]Identity {
	var named []string
	eachRule(s, func(r *Rule) {
		for _, p := range r.Peers {
			if p.Selector == nil {
				continue
			}
			for _, req := range p.Selector.Requirements {
				if strings.HasPrefix(req.Key, LabelNodePrefix) {
					named = append(named, req.Key)
				}
			}
		}
	})
	slices.Sort(named)
	named = slices.Compact(named)
	out := map[nodeSet]Identity{{}: IdentityRemoteNode, {api: true}: IdentityKubeAPIServer}
	var sets []nodeSet
	for _, n := range s.Nodes {
		var text strings.Builder
		for _, key := range named {
			if value, ok := n.Labels[key]; ok {
				text.WriteString(key + "=" + value + "\n")
			}
		}
		labels := nodeLabels(text.String())
		b.hosts[n.Name] = nodeSet{labels: labels}
		if labels != "" {
			sets = append(sets, nodeSet{labels: labels}, nodeSet{api: true, labels: labels})
		}
	}
	slices.SortFunc(sets, compareNodeSets)
	for set, identity := range identityNumbers(sets, func(set nodeSet) string { return fmt.Sprint(set) }, FirstNodeIdentity, 1<<29) {
		out[set] = identity
		b.nodeSets[identity] = set
	}
	return out
}
