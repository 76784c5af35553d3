package policy

import (
	"slices"
	"testing"
)

func TestSelectorMatches(t *testing.T) {
	pod := Labels{"k8s:app": "web", "k8s:tier": "front", LabelNamespace: "demo"}
	host := Labels{"reserved:host": ""}
	cidr := Labels{"cidr:10.0.0.0/8": "", "reserved:world": ""}
	one := func(key string, op Operator, values ...string) Selector {
		return Selector{Requirements: []Requirement{{Key: key, Operator: op, Values: values}}}
	}
	both := Selector{Requirements: []Requirement{
		{Key: "k8s:app", Operator: In, Values: []string{"web", "api"}},
		{Key: "k8s:tier", Operator: NotIn, Values: []string{"back"}},
	}}
	for _, c := range []struct {
		name            string
		selector        Selector
		pod, host, cidr bool
	}{
		{"empty means pods", Selector{}, true, false, false},
		{"in", one("k8s:app", In, "api", "web"), true, false, false},
		{"in, other value", one("k8s:app", In, "api"), false, false, false},
		{"in, no values", one("k8s:app", In), false, false, false},
		{"any source", one("any:app", In, "web"), true, false, false},
		{"no source is any", one("app", In, "web"), true, false, false},
		{"other source", one("container:app", In, "web"), false, false, false},
		{"exists", one("k8s:tier", Exists), true, false, false},
		{"exists, missing", one("k8s:role", Exists), false, false, false},
		{"not in means pods", one("k8s:app", NotIn, "api"), true, false, false},
		{"not in, hit", one("k8s:app", NotIn, "web"), false, false, false},
		{"not in any source means pods", one("any:app", NotIn, "api"), true, false, false},
		{"does not exist means pods", one("k8s:role", DoesNotExist), true, false, false},
		{"does not exist, there", one("any:app", DoesNotExist), false, false, false},
		{"reserved", one("reserved:host", Exists), false, true, false},
		{"reserved by any source", one("any:host", Exists), false, true, false},
		{"world holds CIDRs", one("reserved:world", Exists), false, false, true},
		{"all hold", both, true, false, false},
		{"unknown operator", one("k8s:app", Operator(9), "web"), false, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			sets := []Labels{pod, host, cidr}
			index := newLabelIndex(sets).find(c.selector)
			for i, want := range []bool{c.pod, c.host, c.cidr} {
				if got := c.selector.Matches(sets[i]); got != want {
					t.Errorf("Matches(%v) = %v, want %v", sets[i], got, want)
				}
				if got := slices.Contains(index, int32(i)); got != want {
					t.Errorf("the index selects %v: %v, want %v", sets[i], got, want)
				}
			}
		})
	}
}
