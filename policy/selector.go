package policy

import (
	"slices"
	"strings"
)

const (
	sourceK8s = "k8s"
	sourceAny = "any"
)

// Matches says whether the selector selects labels. Where many selectors meet many label
// sets, an index is used instead (labelIndex), which asks only those that can match.
func (s Selector) Matches(labels Labels) bool { return newMatcher(s).matches(labels) }

// matcher is a Selector with its keys taken apart once.
type matcher struct {
	requirements []requirement
	// reserved is true if the selector can select a set of labels that is not a pod's.
	reserved bool
}

type requirement struct {
	Requirement
	// name is the key without its source.
	name string
	// any is true if a key of any source is meant.
	any bool
}

func newMatcher(s Selector) matcher {
	m := matcher{requirements: make([]requirement, len(s.Requirements))}
	for i, r := range s.Requirements {
		source, name := splitKey(r.Key)
		m.requirements[i] = requirement{Requirement: r, name: name, any: source == sourceAny}
		// `{}` and `k8s:app NotIn (x)` mean pods, not the world: only a requirement that
		// names another source, or one that must be found in any source, can mean more.
		positive := r.Operator == In || r.Operator == Exists
		if source != sourceK8s && (source != sourceAny || positive) {
			m.reserved = true
		}
	}
	return m
}

func (m matcher) matches(labels Labels) bool {
	for i := range m.requirements {
		if !m.requirements[i].holds(labels) {
			return false
		}
	}
	return m.reserved || isPod(labels)
}

func (r *requirement) holds(labels Labels) bool {
	found, hit := false, false
	look := func(value string) {
		found = true
		hit = hit || slices.Contains(r.Values, value)
	}
	if !r.any {
		if value, ok := labels[r.Key]; ok {
			look(value)
		}
	} else {
		for key, value := range labels {
			if _, name := splitKey(key); name == r.name {
				look(value)
			}
		}
	}
	switch r.Operator {
	case In:
		return hit
	case NotIn:
		return !hit
	case Exists:
		return found
	case DoesNotExist:
		return !found
	}
	return false
}

// splitKey takes the source from a key. A key without one means any, as in Cilium.
func splitKey(key string) (source, name string) {
	if source, name, ok := strings.Cut(key, ":"); ok {
		return source, name
	}
	return sourceAny, key
}

// isPod says whether labels are a pod's: reserved and CIDR identities have no k8s labels.
func isPod(labels Labels) bool {
	for key := range labels {
		if strings.HasPrefix(key, sourceK8s+":") {
			return true
		}
	}
	return false
}

// labelIndex finds which of many label sets a selector selects.
type labelIndex struct {
	sets []Labels
	all  []int32
	// byLabel and byKey are the numbers of the sets that have a label or a key, in
	// order; each label is in them with its own source and with "any:".
	byLabel map[[2]string][]int32
	byKey   map[string][]int32
	// known are the answers already given, by the selector's text.
	known map[string][]int32
}

func newLabelIndex(sets []Labels) *labelIndex {
	x := &labelIndex{sets: sets, byLabel: map[[2]string][]int32{}, byKey: map[string][]int32{}, known: map[string][]int32{}}
	for i, labels := range sets {
		n := int32(i)
		x.all = append(x.all, n)
		for key, value := range labels {
			_, name := splitKey(key)
			for _, k := range []string{key, sourceAny + ":" + name} {
				x.byLabel[[2]string{k, value}] = append(x.byLabel[[2]string{k, value}], n)
				x.byKey[k] = append(x.byKey[k], n)
			}
		}
	}
	return x
}

// find returns the numbers of the sets that s selects, in order. The answer is shared.
func (x *labelIndex) find(s Selector) []int32 {
	text := selectorText(s)
	if got, ok := x.known[text]; ok {
		return got
	}
	m := newMatcher(s)
	var out []int32
	for _, n := range x.candidates(m) {
		if m.matches(x.sets[n]) {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	x.known[text] = out
	return out
}

// candidates returns the fewest sets that can match, by one of the requirements.
func (x *labelIndex) candidates(m matcher) []int32 {
	best := x.all
	for i := range m.requirements {
		r := &m.requirements[i]
		key := r.Key
		if r.any {
			key = sourceAny + ":" + r.name
		}
		var got []int32
		switch r.Operator {
		case In:
			for _, value := range r.Values {
				got = append(got, x.byLabel[[2]string{key, value}]...)
			}
		case Exists:
			got = x.byKey[key]
		default:
			continue
		}
		if len(got) < len(best) {
			best = got
		}
	}
	return best
}

// selectorText is the same for equal selectors only.
func selectorText(s Selector) string {
	var b strings.Builder
	for _, r := range s.Requirements {
		b.WriteString(r.Key)
		b.WriteByte('\x00')
		b.WriteByte('0' + byte(r.Operator))
		for _, v := range r.Values {
			b.WriteByte('\x01')
			b.WriteString(v)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
