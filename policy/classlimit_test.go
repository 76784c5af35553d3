package policy

import (
	"fmt"
	"testing"
)

// A class that is too large must not become one that a node refuses, and never opens anything.
func TestClassLimit(t *testing.T) {
	rules := func(action Action, n int) []HTTPRule {
		out := make([]HTTPRule, n)
		for i := range out {
			out[i] = HTTPRule{ID: RuleID{Policy: Ref{Name: fmt.Sprint(action)}, Path: fmt.Sprintf("%05d", i)}, Action: action}
		}
		return out
	}
	for name, test := range map[string]struct {
		denies, allows         int
		wantDenies, wantAllows int
		allowAll               bool
		problems               int
	}{
		"within":          {10, MaxClassRules - 10, 10, MaxClassRules - 10, true, 0},
		"allows too many": {10, MaxClassRules, 10, MaxClassRules - 10, true, 1},
		"denies too many": {MaxClassRules + 1, 5, 0, 0, false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			var problems []Problem
			f := &folder{report: func(p Problem) { problems = append(problems, p) }}
			c := &Class{HTTP: append(rules(Deny, test.denies), rules(Allow, test.allows)...), AllowAll: &RuleID{}}
			f.limit(c)
			denies := 0
			for _, r := range c.HTTP {
				if r.Action == Deny {
					denies++
				}
			}
			if denies != test.wantDenies || len(c.HTTP)-denies != test.wantAllows || (c.AllowAll != nil) != test.allowAll || len(problems) != test.problems {
				t.Errorf("%d denies and %d allows, allow all %v, problems %v", denies, len(c.HTTP)-denies, c.AllowAll != nil, problems)
			}
		})
	}
}

func TestClassLimitOfDNS(t *testing.T) {
	var problems []Problem
	f := &folder{report: func(p Problem) { problems = append(problems, p) }}
	c := &Class{DNS: make([]DNSRule, MaxClassRules+2)}
	for i := range c.DNS {
		c.DNS[i].ID = RuleID{Policy: Ref{Name: "p"}, Path: fmt.Sprintf("%05d", i)}
	}
	f.limit(c)
	if len(c.DNS) != MaxClassRules || len(problems) != 1 || problems[0].Path != fmt.Sprint(MaxClassRules) {
		t.Errorf("%d rules are left, problems %v", len(c.DNS), problems)
	}
}
