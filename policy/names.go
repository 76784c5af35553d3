package policy

import "slices"

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
