package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
)

// limits are what one node can be given. What is above them, the node would refuse whole, and
// keep what it had: so the largest tables are closed here, where it is known whose they are.
type limits struct{ entries, classes int }

// maxNode leaves room below what the wire and the maps hold for what a node adds itself.
func maxNode() limits {
	return limits{entries: 1_000_000, classes: int(LastClassPort-FirstClassPort) + 1}
}

// MaxIdentityLabels is how many labels of an identity nodes are told. Policies select by all of them.
const MaxIdentityLabels = 4096

// limit closes the largest tables of each node until the others fit.
func (c *compiler) limit(nodes map[string]*nodeView, most limits) {
	for _, view := range nodes {
		tables := c.tablesOf(view)
		for over(tables, most) {
			c.close(view, tables[0])
			tables = tables[1:]
		}
	}
}

// tablesOf are the node's tables, the largest first.
func (c *compiler) tablesOf(view *nodeView) []*Table {
	seen := map[TableID]bool{"": true}
	var out []*Table
	for _, e := range view.endpoints {
		for _, id := range []TableID{e.Ingress, e.Egress} {
			if !seen[id] {
				seen[id] = true
				out = append(out, c.tables[id])
			}
		}
	}
	slices.SortFunc(out, func(a, b *Table) int {
		return cmp.Or(cmp.Compare(len(b.Entries), len(a.Entries)), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func over(tables []*Table, most limits) bool {
	entries := 0
	for _, t := range tables {
		entries += len(t.Entries)
	}
	if entries > most.entries {
		return true
	}
	if entries <= most.classes {
		return false // there are no more classes than entries
	}
	classes := map[ClassID]bool{}
	for _, t := range tables {
		for _, e := range t.Entries {
			if e.Class != "" {
				classes[e.Class] = true
			}
		}
	}
	return len(classes) > most.classes
}

// close gives the pods of a table one that denies everything in its place.
func (c *compiler) close(view *nodeView, t *Table) {
	shut := &Table{ID: "closed-" + t.ID, Direction: t.Direction, DefaultDeny: true, Audit: t.Audit, Denying: t.Denying}
	c.tables[shut.ID], c.limited = shut, true
	view.endpoints = slices.Clone(view.endpoints)
	for i := range view.endpoints {
		e := &view.endpoints[i]
		if e.Ingress == t.ID {
			e.Ingress = shut.ID
		}
		if e.Egress == t.ID {
			e.Egress = shut.ID
		}
	}
	told := map[Ref]bool{}
	for _, e := range t.Entries {
		for _, rule := range e.Rules {
			if told[rule.Policy] {
				continue
			}
			told[rule.Policy] = true
			c.report(Problem{Policy: rule.Policy, Path: rule.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
				"the rules of all policies for the same pods make %d entries, more than a node has room for beside its other pods': together they allow nothing there; name fewer peers, or fewer ports and ranges", len(t.Entries))})
		}
	}
}

// toldLabels returns the labels of an identity that nodes are told: those that Septum gives first.
func toldLabels(labels Labels) Labels {
	if len(labels) <= MaxIdentityLabels {
		return labels
	}
	out := make(Labels, MaxIdentityLabels)
	own := []string{LabelNamespace, LabelServiceAccount, LabelCluster}
	for _, key := range slices.Concat(own, slices.Sorted(maps.Keys(labels))) {
		if value, ok := labels[key]; ok && len(out) < MaxIdentityLabels {
			out[key] = value
		}
	}
	return out
}
