package policy

import (
	"fmt"
	"strings"
	"testing"
)

// TestHeaderActionsBounded: a policy with many actions in many rules loses the rules that
// are too many, and no others.
func TestHeaderActionsBounded(t *testing.T) {
	for _, c := range []struct{ rules, actions, left int }{
		{32, 8, 32}, {33, 8, 32}, {40, 9, 8}, {4096, 1, 4096}, {4097, 1, 4096},
	} {
		s := sampleSnapshot()
		rule := &s.Policies[0].Specs[0].Ingress.Rules[0]
		http := &HTTP{}
		for i := range c.rules {
			r := HTTPRule{ID: RuleID{Policy: rule.ID.Policy, Path: fmt.Sprintf("%s.rules.http[%d]", rule.ID.Path, i)}}
			for j := range c.actions {
				// From the ninth action on each is in the later rules only.
				if j < 8 || i >= 8 {
					r.Headers = append(r.Headers, HeaderMatch{Name: fmt.Sprint("x-", j), Value: StringMatch{MatchExact, "v"}, Mismatch: MismatchAdd})
				}
			}
			http.Rules = append(http.Rules, r)
		}
		http.Rules = append(http.Rules, HTTPRule{ID: RuleID{Policy: rule.ID.Policy, Path: "without actions"}})
		rule.L7 = http
		compiled := Compile(s)
		class := compiled.Node("n1").Classes[0]
		if got := len(class.HTTP) - 1; got != c.left || !class.HeaderActionsFit() {
			t.Errorf("%d rules with %d actions: %d are left, want %d", c.rules, c.actions, got, c.left)
		}
		if got := len(compiled.Problems()); got != c.rules-c.left {
			t.Errorf("%d rules with %d actions: %d problems", c.rules, c.actions, got)
		}
		for _, p := range compiled.Problems() {
			if p.Reason != ReasonUnsupported || !strings.Contains(p.Path, ".http[") {
				t.Errorf("an unexpected problem: %+v", p)
			}
		}
	}
}
