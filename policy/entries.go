package policy

import (
	"cmp"
	"slices"
)

// segment is a run of ports with one outcome; nil leaves it to less specific entries.
type segment struct {
	lo, hi uint16
	out    *outcome
}

// entries returns, without identities, the entries for peers that the rules own select
// besides wide, which select every peer. Only what own touches is in them: the rest is
// left to the entries of IdentityAny. With no own rules they are the entries of IdentityAny.
func (f *folder) entries(own, wide []int32) []Entry {
	if len(own) == 0 {
		own, wide = wide, nil
	}
	rules := slices.Concat(own, wide)
	slices.Sort(rules)
	var out []Entry
	base := f.fold(f.cover(rules, own, portRange{}))
	if base != nil {
		out = append(out, base.entry(ProtocolAny, portPrefix{}))
	}
	var protocols []Protocol
	for _, n := range rules {
		for _, r := range f.rules[n].ranges {
			protocols = append(protocols, r.protocol)
		}
	}
	slices.Sort(protocols)
	for _, p := range slices.Compact(protocols) {
		out = append(out, protocolEntries(p, f.segments(rules, own, p), base)...)
	}
	return out
}

// segments cuts the ports of a protocol where an outcome changes.
func (f *folder) segments(rules, own []int32, p Protocol) []segment {
	cuts := []int{0}
	for _, n := range rules {
		for _, r := range f.rules[n].ranges {
			if r.protocol == p {
				cuts = append(cuts, int(r.lo), int(r.hi)+1)
			}
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []segment
	for i, lo := range cuts {
		if lo > lastPort {
			break
		}
		hi := lastPort
		if i+1 < len(cuts) {
			hi = cuts[i+1] - 1
		}
		got := f.fold(f.cover(rules, own, portRange{p, uint16(lo), uint16(hi)}))
		if last := len(out) - 1; last >= 0 && out[last].out == got {
			out[last].hi = uint16(hi)
			continue
		}
		out = append(out, segment{uint16(lo), uint16(hi), got})
	}
	return out
}

// cover returns the rules that apply to all of a range that no rule divides; the zero
// range is what only rules without ports reach. Without one of own it is none.
func (f *folder) cover(rules, own []int32, in portRange) []int32 {
	applies := func(n int32) bool { return f.rules[n].applies(in) }
	if !slices.ContainsFunc(own, applies) {
		return nil
	}
	var out []int32
	for _, n := range rules {
		if applies(n) {
			out = append(out, n)
		}
	}
	return out
}

func (r *rule) applies(in portRange) bool {
	return r.allPorts || in.protocol != ProtocolAny && slices.ContainsFunc(r.ranges, func(x portRange) bool {
		return x.protocol == in.protocol && x.lo <= in.lo && in.hi <= x.hi
	})
}

// protocolEntries writes segments as prefixes. base is the outcome of the identity's own
// entry for every protocol, if it has one: what equals it needs no entry. If no segment
// is left open, one entry for the whole protocol can save many.
func protocolEntries(p Protocol, segments []segment, base *outcome) []Entry {
	plain := segmentEntries(p, segments, base)
	if slices.ContainsFunc(segments, func(s segment) bool { return s.out == nil }) {
		return plain
	}
	best := plain
	tried := map[*outcome]bool{base: true}
	for _, s := range segments {
		if tried[s.out] {
			continue
		}
		tried[s.out] = true
		if got := segmentEntries(p, segments, s.out); len(got)+1 < len(best) {
			best = append(got, s.out.entry(p, portPrefix{}))
		}
	}
	slices.SortFunc(best, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.PrefixLen, b.PrefixLen))
	})
	return best
}

func segmentEntries(p Protocol, segments []segment, except *outcome) []Entry {
	var out []Entry
	for _, s := range segments {
		if s.out == nil || s.out == except {
			continue
		}
		for _, prefix := range prefixes(s.lo, s.hi) {
			out = append(out, s.out.entry(p, prefix))
		}
	}
	return out
}

func (o *outcome) entry(p Protocol, prefix portPrefix) Entry {
	return Entry{Protocol: p, Port: prefix.port, PrefixLen: prefix.length, Verdict: o.verdict, Class: o.class, Rules: o.rules}
}
