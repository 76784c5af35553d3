package controllers

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
	"github.com/septum-dev/septum/xds/septumpb"
)

// TestConformance shows what the truth table says of Enforced (SEMANTICS 34), with reports of
// nodes such as enforcers send them.
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, c := range cases {
		if len(c.Status) == 0 {
			continue
		}
		seen++
		t.Run(c.Name, func(t *testing.T) {
			_, record, err := new(publisher).publish(c.Snapshot, c.Problems)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t)
			w.publish(record)
			for name := range record.nodes {
				w.Connected(name)
			}
			for i, step := range c.Status {
				if step.Node != "" {
					w.Reported(step.Node, &septumpb.NodeReport{NodeVersion: record.nodes[step.Node].version, ClusterVersion: record.clusterVersion, ProxyReady: true, Instance: "i"})
					continue
				}
				facts := w.facts()
				first := slices.IndexFunc(facts, func(p policyFacts) bool { return policy.CompareRefs(p.ref, c.Snapshot.Policies[0].Ref) == 0 })
				got := meta.FindStatusCondition(conditions(facts[first]), v1alpha1.ConditionEnforced)
				if string(got.Status) != step.Enforced {
					t.Errorf("step %d: Enforced is %s (%s), want %s", i, got.Status, got.Message, step.Enforced)
				}
			}
		})
	}
	if seen == 0 {
		t.Error("no case shows a status")
	}
}
