package controllers

import (
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func TestCountersNeverGoDown(t *testing.T) {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "p"}
	nodes := map[string]nodeRecord{"node1": {}, "node2": {}}
	// A step is a report of so many denials, by a node and an instance of its enforcer.
	type step struct {
		node, instance string
		denied         uint64
		want           int64
	}
	for name, c := range map[string]struct {
		whole int64
		rows  map[string]int64
		steps []step
	}{
		"two nodes":                      {0, nil, []step{{"node1", "a", 5, 5}, {"node2", "b", 3, 8}, {"node1", "a", 6, 9}}},
		"an enforcer starts again":       {0, nil, []step{{"node1", "a", 5, 5}, {"node1", "b", 1, 6}, {"node1", "b", 2, 7}, {"node1", "c", 0, 7}}},
		"the operator starts again":      {5, map[string]int64{"node1": 5}, []step{{"node1", "a", 5, 5}, {"node1", "a", 6, 6}}},
		"and had been away for a while":  {5, map[string]int64{"node1": 5}, []step{{"node1", "a", 9, 9}}},
		"and the enforcer was new once":  {10, map[string]int64{"node1": 10}, []step{{"node1", "b", 3, 10}, {"node1", "b", 4, 11}}},
		"and the node has no row":        {7, nil, []step{{"node1", "a", 7, 7}, {"node1", "a", 8, 8}}},
		"and one node of two has no row": {9, map[string]int64{"node2": 4}, []step{{"node1", "a", 5, 9}, {"node2", "b", 4, 9}, {"node2", "b", 6, 11}}},
	} {
		t.Run(name, func(t *testing.T) {
			counts := newCounters()
			rows := map[string]tally{}
			for node, n := range c.rows {
				rows[node] = tally{denied: n}
			}
			counts.seed(ref, "1", tally{denied: c.whole}, rows, denial{})
			counts.keep(map[policy.Ref]string{ref: "1"}, nodes)
			for i, s := range c.steps {
				counts.report(s.node, s.instance, []*septumpb.RuleCounter{{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Denied: s.denied}})
				if got := counts.of(ref).sum().denied; got != s.want {
					t.Fatalf("step %d: %d, want %d", i, got, s.want)
				}
			}
			before := counts.of(ref).sum()
			counts.keep(map[policy.Ref]string{ref: "1"}, nil)
			if got := counts.of(ref).sum(); got != before {
				t.Errorf("%v when the nodes are gone, want %v", got, before)
			}
			counts.keep(nil, nil)
			if len(counts.byPolicy) != 0 {
				t.Error("a policy that is gone is still counted")
			}
		})
	}
}

func TestARestartWithoutNewsKeepsTheCount(t *testing.T) {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "p"}
	counts := newCounters()
	counts.keep(map[policy.Ref]string{ref: "1"}, map[string]nodeRecord{"node1": {}})
	report := func(instance string, list ...*septumpb.RuleCounter) { counts.report("node1", instance, list) }
	one := func(n uint64) *septumpb.RuleCounter {
		return &septumpb.RuleCounter{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Allowed: n}
	}
	report("a", one(5))
	report("b") // nothing counted yet
	report("b", one(2))
	if got := counts.of(ref).sum().allowed; got != 7 {
		t.Errorf("%d, want 7", got)
	}
}

// TestAPolicyMadeAnew counts from 0, whatever is said or was written about the one before.
func TestAPolicyMadeAnew(t *testing.T) {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "p"}
	nodes := map[string]nodeRecord{"node1": {}}
	counts := newCounters()
	report := func(uid string, n uint64) {
		counts.report("node1", "a", []*septumpb.RuleCounter{{Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Uid: uid, Denied: n, LastDenied: int64(n)}})
	}
	check := func(what string, want int64) {
		t.Helper()
		if got := counts.of(ref); got.sum().denied != want || got.last.at != want {
			t.Errorf("%s: %+v, want %d", what, got, want)
		}
	}
	counts.keep(map[policy.Ref]string{ref: "1"}, nodes)
	report("1", 5)
	check("the first", 5)
	counts.keep(map[policy.Ref]string{ref: "2"}, nodes)
	check("made anew", 0)
	report("1", 6) // the node has not heard of it yet
	check("a report of the first", 0)
	report("2", 1)
	check("a report of the second", 1)

	counts = newCounters() // the operator starts again, and finds the status of the first
	counts.seed(ref, "1", tally{denied: 5}, map[string]tally{"node1": {denied: 5}}, denial{at: 5})
	counts.keep(map[policy.Ref]string{ref: "2"}, nodes)
	check("after a restart", 0)
	counts.seed(ref, "1", tally{denied: 5}, nil, denial{at: 5})
	check("read late", 0)
}
