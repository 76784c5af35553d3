package main

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// defaultSiblings is how many different texts at one place of a path are still named one by one.
const defaultSiblings = 10

// shapes are those of segments that differ from request to request, the narrowest first. A
// text of one of the last, of which mustCount many are, counts only with a digit in it.
func shapes() (out []*regexp.Regexp, mustCount int) {
	for _, s := range []string{
		`[0-9]+`, // numbers
		`[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`,  // UUIDs
		`[0-9]{4}-[0-9]{2}-[0-9]{2}`,                          // dates
		`[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)?`, // times
		`[0-9a-fA-F]{8,}`,    // hashes
		`[0-9A-Za-z_-]{20,}`, // tokens, ULIDs
	} {
		out = append(out, regexp.MustCompile("^(?:"+s+")$"))
	}
	return out, 2
}

// generalise turns paths into expressions over a whole path: each matches one path or more.
//
// Of a path, segments (between slashes) that have the shape of an id become the expression
// for that shape. A hash or token must have a digit in it: "settlements-and-payments" is a
// word. Where then more than siblings different texts stand at one place, and all else is
// equal, that place may hold any segment.
func generalise(paths []string, siblings int) map[string]string {
	known, mustCount := shapes()
	patterns := make(map[string][]string, len(paths)) // by path
	for _, p := range paths {
		segments := strings.Split(p, "/")
		for i, s := range segments {
			segments[i] = segmentPattern(s, known, mustCount)
		}
		patterns[p] = segments
	}
	const any = `[^/?]+`
	for {
		crowded := map[string]map[string]bool{} // what stands at a place, by all else
		place := func(segments []string, i int) string {
			rest := slices.Clone(segments)
			rest[i] = "\x00"
			return strings.Join(rest, "/")
		}
		for _, segments := range patterns {
			for i := 1; i < len(segments); i++ {
				key := place(segments, i)
				if crowded[key] == nil {
					crowded[key] = map[string]bool{}
				}
				crowded[key][segments[i]] = true
			}
		}
		changed := false
		for _, p := range slices.Sorted(maps.Keys(patterns)) {
			segments := patterns[p]
			for i := 1; i < len(segments); i++ {
				if segments[i] != any && segments[i] != "" && len(crowded[place(segments, i)]) > siblings {
					segments[i], changed = any, true
					break
				}
			}
		}
		if !changed {
			break
		}
	}
	out := make(map[string]string, len(paths))
	for p, segments := range patterns {
		out[p] = strings.Join(segments, "/")
	}
	return out
}

// segmentPattern is the expression for the segment's shape, or for the segment.
func segmentPattern(s string, known []*regexp.Regexp, mustCount int) string {
	for i, shape := range known {
		if shape.MatchString(s) && (i < len(known)-mustCount || strings.ContainsAny(s, "0123456789")) {
			return strings.TrimSuffix(strings.TrimPrefix(shape.String(), "^(?:"), ")$")
		}
	}
	return regexp.QuoteMeta(s)
}
