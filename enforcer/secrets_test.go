package enforcer

import (
	"slices"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestSecretTakenAway: a class whose secret does not come any more is not given the one before,
// and what is left of the policy before keeps its own.
func TestSecretTakenAway(t *testing.T) {
	class := func(id policy.ClassID, secret policy.SecretID) policy.Class {
		return policy.Class{ID: id, Kind: policy.KindTLS, TLS: []policy.TLSRule{{ID: rule("r"), Names: []policy.ServerName{"a.example"},
			Inspect: policy.Inspection{Certificate: secret}}}}
	}
	old := policy.NodePolicy{Classes: []policy.Class{class("stays", "certificate/stays"), class("goes", "certificate/goes")},
		Secrets: []policy.Secret{{ID: "certificate/goes"}, {ID: "certificate/stays"}}}
	np := policy.NodePolicy{Classes: old.Classes[:1]}
	got := withSecrets(np, withoutNamed(old, np.Classes))
	ids := slices.Collect(func(yield func(policy.SecretID) bool) {
		for _, s := range got.Secrets {
			if !yield(s.ID) {
				return
			}
		}
	})
	if !slices.Equal(ids, []policy.SecretID{"certificate/goes"}) || len(old.Secrets) != 2 {
		t.Errorf("the secrets are %q", ids)
	}
}
