package policy

import (
	"slices"
	"testing"
)

// A table says which policies deny what nothing allows, those without rules too.
func TestDenying(t *testing.T) {
	named := func(name string) Ref { return Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: name} }
	bare := func(name string, mode Mode, defaultDeny bool) Policy {
		return Policy{Ref: named(name), UID: name, Mode: mode, Specs: []Spec{{
			Path: "spec", Subject: podSelector("backend-app"), Ingress: Section{DefaultDeny: defaultDeny},
		}}}
	}
	sample := sampleSnapshot().Policies[0]
	for name, c := range map[string]struct {
		policies []Policy
		want     []Ref
	}{
		"one with rules":                 {[]Policy{sample}, []Ref{sample.Ref}},
		"one without":                    {[]Policy{bare("b", Enforce, true)}, []Ref{named("b")}},
		"both":                           {[]Policy{bare("b", Enforce, true), sample}, []Ref{sample.Ref, named("b")}},
		"audit beside one that enforces": {[]Policy{bare("b", Audit, true), sample}, []Ref{sample.Ref}},
		"audit alone":                    {[]Policy{bare("b", Audit, true)}, []Ref{named("b")}},
		"one that does not deny":         {[]Policy{bare("b", Enforce, false), sample}, []Ref{sample.Ref}},
	} {
		s := sampleSnapshot()
		s.Policies = c.policies
		np := Resolve(s, "n1")
		if len(np.Tables) != 1 || !slices.Equal(np.Tables[0].Denying, c.want) {
			t.Errorf("%s: tables %+v, want one of %v", name, np.Tables, c.want)
		}
	}
}
