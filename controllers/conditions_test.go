package controllers

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

func on(name string, pods int, reason, message string) nodeFacts {
	return nodeFacts{name: name, pods: pods, enforcing: reason == "", reason: reason, message: message}
}

func TestConditions(t *testing.T) {
	problem := func(reason policy.ProblemReason, warning bool) policy.Problem {
		return policy.Problem{Path: "spec.ingress[0]", Reason: reason, Message: "is wrong", Warning: warning}
	}
	// Each condition is "Type=Status Reason: a part of the message".
	for name, c := range map[string]struct {
		facts policyFacts
		want  []string
	}{
		"nothing selected": {policyFacts{}, []string{
			"Accepted=True Accepted: all of it is supported", "ResolvedRefs=True Resolved: exists",
			"Enforced=True NoPodSelected: no pod is selected", "Degraded=False Healthy: nothing is closed", "Conflicted=False NoConflict: ",
		}},
		"all nodes": {policyFacts{nodes: []nodeFacts{on("node1", 2, "", ""), on("node2", 1, "", "")}}, []string{
			"Enforced=True Enforced: enforced on 2 of 2 nodes, for 3 pods",
		}},
		"audit": {policyFacts{policyRecord: policyRecord{mode: policy.Audit}, nodes: []nodeFacts{on("node1", 1, "", "")}}, []string{
			"Enforced=True Audited: enforced on 1 of 1 nodes, for 1 pod",
		}},
		"one node waits": {policyFacts{nodes: []nodeFacts{on("node1", 2, "", ""), on("node2", 1, v1alpha1.ReasonPending, "not yet")}}, []string{
			"Enforced=False Pending: enforced on 1 of 2 nodes; waiting for node2", "Degraded=False Healthy: ",
		}},
		"the worst reason is named": {policyFacts{nodes: []nodeFacts{
			on("node1", 1, v1alpha1.ReasonPending, "not yet"), on("node2", 1, v1alpha1.ReasonNodeUnreachable, "not connected"), on("node3", 1, v1alpha1.ReasonNodeRejected, "refused: no room"),
		}}, []string{
			"Enforced=False NodeRejected: enforced on 0 of 3 nodes; waiting for node3, node2, node1 (node3: refused: no room; node2: not connected)",
		}},
		"a mistake": {policyFacts{policyRecord: policyRecord{problems: []policy.Problem{problem(policy.ReasonInvalid, false)}}}, []string{
			"Accepted=False Invalid: spec.ingress[0]: is wrong", "ResolvedRefs=True ", "Degraded=True PartlyClosed: 1 problem in the policy",
		}},
		"a warning": {policyFacts{policyRecord: policyRecord{problems: []policy.Problem{problem(policy.ReasonNoMatch, true)}}}, []string{
			"Accepted=True AcceptedWithWarnings: is wrong", "Degraded=False ",
		}},
		"a reference": {policyFacts{policyRecord: policyRecord{problems: []policy.Problem{problem(policy.ReasonUnresolved, false)}}}, []string{
			"Accepted=True Accepted", "ResolvedRefs=False UnresolvedRef: is wrong", "Degraded=True PartlyClosed: ",
		}},
		"a conflict": {policyFacts{policyRecord: policyRecord{problems: []policy.Problem{problem(policy.ReasonConflict, false)}}}, []string{
			"Accepted=True Accepted", "Conflicted=True Conflict: is wrong",
		}},
		"host network": {policyFacts{hostNetwork: []string{"kube-system/proxy"}}, []string{
			"Enforced=True NoPodSelected", "Degraded=True NotEnforceable: host network cannot be enforced: kube-system/proxy",
		}},
		"trouble on a node that enforces": {policyFacts{nodes: []nodeFacts{{name: "node1", pods: 1, enforcing: true, trouble: []string{"the proxy is not ready"}}}}, []string{
			"Enforced=True Enforced", "Degraded=True PartlyClosed: node1: the proxy is not ready",
		}},
		"trouble on a node that fails open": {policyFacts{nodes: []nodeFacts{
			{name: "node1", pods: 1, enforcing: true, failsOpen: true, trouble: []string{"connections go on unjudged"}},
			{name: "node2", pods: 1, enforcing: true, trouble: []string{"no room"}},
		}}, []string{
			"Enforced=True Enforced", "Degraded=True FailingOpen: node1: connections go on unjudged; node2: no room",
		}},
		"a pod without a veth": {policyFacts{nodes: []nodeFacts{{name: "node1", pods: 1, reason: v1alpha1.ReasonNotEnforceable, message: "a/b: no veth", trouble: []string{"a/b: no veth"}}}}, []string{
			"Enforced=False NotEnforceable: (node1: a/b: no veth)", "Degraded=True NotEnforceable: node1: a/b: no veth",
		}},
		"a message that attacks a terminal": {policyFacts{nodes: []nodeFacts{on("node1", 1, v1alpha1.ReasonNodeRejected, "\x1b[2Jgone")}}, []string{
			"Enforced=False NodeRejected: node1:  [2Jgone",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c.facts.generation = 7
			got := conditions(c.facts)
			if len(got) != 5 {
				t.Fatalf("%d conditions", len(got))
			}
			for _, want := range c.want {
				kind, rest, _ := strings.Cut(want, "=")
				head, message, _ := strings.Cut(rest, ": ")
				g := meta.FindStatusCondition(got, kind)
				if text := string(g.Status) + " " + g.Reason; !strings.HasPrefix(text, head) || !strings.Contains(g.Message, message) || g.ObservedGeneration != 7 {
					t.Errorf("%s is %s: %q (generation %d), want %s", kind, text, g.Message, g.ObservedGeneration, want)
				}
			}
		})
	}
}

func TestSomeNamesAFew(t *testing.T) {
	if got := some([]string{"a", "b", "c", "d", "e", "f", "g"}, ","); got != "a,b,c,d,e and 2 more" {
		t.Error(got)
	}
}
