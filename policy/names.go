package policy

import (
	"slices"
	"strings"
)

// numberNames gives an identity to each name pattern that a policy names.
func numberNames(s Snapshot) map[NamePattern]Identity {
	var patterns []NamePattern
	eachRule(s, func(r *Rule) {
		for _, peer := range r.Peers {
			if peer.Name != "" {
				patterns = append(patterns, peer.Name)
			}
		}
	})
	slices.Sort(patterns)
	text := func(p NamePattern) string { return string(p) }
	return identityNumbers(slices.Compact(patterns), text, FirstNameIdentity, uint64(FirstLocalIdentity-FirstNameIdentity))
}

// NamePatterns returns the patterns that the node's policies name as destinations, sorted.
func (np NodePolicy) NamePatterns() []NamePattern {
	used := map[Identity]bool{}
	for _, t := range np.Tables {
		for _, e := range t.Entries {
			used[e.Identity] = used[e.Identity] || t.Direction == Egress
		}
	}
	var out []NamePattern
	for _, il := range np.Identities {
		if !used[il.Identity] || il.Identity < FirstNameIdentity || il.Identity >= FirstLocalIdentity {
			continue
		}
		for key := range il.Labels {
			if text, ok := strings.CutPrefix(key, LabelNamePrefix); ok {
				out = append(out, NamePattern(text))
			}
		}
	}
	slices.Sort(out)
	return out
}
