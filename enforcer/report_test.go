package enforcer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/septum-dev/septum/policy"
)

// TestProblemsOfPolicies: they name the policy and the place, and the operator takes them.
func TestProblemsOfPolicies(t *testing.T) {
	p := policy.Problem{Policy: policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "a"}, Path: "spec.egress[0]", Reason: policy.ReasonUnsupported, Message: "too many"}
	long := p
	long.Message = strings.Repeat("ä", 2000)
	got := policyProblems([]policy.Problem{p, long})
	if len(got) != 2 || got[0].GetMessage() != "L7NetworkPolicy demo/a: spec.egress[0]: too many" || got[0].GetReason() != "Unsupported" || got[0].GetEndpoint() != "" {
		t.Errorf("told %v", got)
	}
	if text := got[1].GetMessage(); len(text) > maxPolicyProblem || !utf8.ValidString(text) {
		t.Errorf("told %d bytes: %q", len(text), text)
	}
	if got := policyProblems(make([]policy.Problem, 1000)); len(got) != maxPolicyProblems {
		t.Errorf("told %d problems", len(got))
	}
}
