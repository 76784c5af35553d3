package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mismatch says what becomes of a request whose header does not match.
type Mismatch uint8

// What can be done. Refuse makes the match a condition of its rule; the others let the
// request through, and are looked at only where all conditions of the rule hold.
const (
	MismatchRefuse Mismatch = 0
	// MismatchLog only says so in the request's event.
	MismatchLog Mismatch = 1
	// MismatchAdd adds the value, beside what the header has.
	MismatchAdd Mismatch = 2
	// MismatchDelete takes the header away, in every spelling.
	MismatchDelete Mismatch = 3
	// MismatchReplace leaves the value as the header's only one.
	MismatchReplace Mismatch = 4
)

// MaxHeaderActions is how many different actions on headers a class can have: Envoy is
// given a way for each combination of them.
const MaxHeaderActions = 8

// maxHeaderWays bounds the rules with actions times the combinations: on each way Envoy is
// given the rules' conditions, and a policy must not cost a node its memory.
const maxHeaderWays = 8192

// HeaderActionsFit says whether the class has no more actions on headers than can be done.
func (c Class) HeaderActionsFit() bool {
	rules := 0
	for _, r := range c.HTTP {
		if len(r.actions()) > 0 {
			rules++
		}
	}
	return headerActionsFit(rules, len(c.HeaderActions()))
}

func headerActionsFit(rules, actions int) bool {
	return actions <= MaxHeaderActions && rules<<actions <= maxHeaderWays
}

// HeaderActions are the header matches of the class that let requests through, in the order
// of their first rules; one that stands in several rules is there once.
func (c Class) HeaderActions() []HeaderMatch {
	var out []HeaderMatch
	for _, r := range c.HTTP {
		for _, h := range r.actions() {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// actions are the rule's header matches that let requests through.
func (r HTTPRule) actions() []HeaderMatch {
	if r.Action == Deny {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(r.Headers), func(h HeaderMatch) bool { return h.Mismatch == MismatchRefuse })
}

// Pass returns the headers that a request goes on with which the class forwards, and the
// names of those that did not match and were let through, sorted. All rules are asked, not
// only the first that holds (SEMANTICS 17), and each judges the request as it came.
func (c Class) Pass(req HTTPRequest) (header map[string][]string, mismatched []string) {
	if path, ok := NormalizePath(req.Path); ok {
		req.Path = path
	}
	header = req.Header
	for _, h := range c.HeaderActions() {
		wanted := slices.ContainsFunc(c.HTTP, func(r HTTPRule) bool { return slices.Contains(r.actions(), h) && r.holds(req) })
		if wanted && !h.holds(req.Header, false) {
			mismatched = append(mismatched, h.Name)
			header = h.mend(header)
		}
	}
	slices.Sort(mismatched)
	return header, slices.Compact(mismatched)
}

// withinHeaderActions leaves out the rules that would give a class too many actions on
// headers: they allow nothing.
func (f *folder) withinHeaderActions(rules []HTTPRule) []HTTPRule {
	if (Class{HTTP: rules}).HeaderActionsFit() {
		return rules
	}
	with := 0
	var out []HTTPRule
	var actions []HeaderMatch
	for _, r := range rules {
		more := slices.Clone(actions)
		for _, h := range r.actions() {
			if !slices.Contains(more, h) {
				more = append(more, h)
			}
		}
		if len(r.actions()) > 0 {
			if !headerActionsFit(with+1, len(more)) {
				f.tooMuch(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
					"the rules for one peer and port can have %d different actions on headers, in %d rules then, and those before it have them: the rule allows nothing",
					MaxHeaderActions, maxHeaderWays>>MaxHeaderActions)})
				continue
			}
			with++
		}
		out, actions = append(out, r), more
	}
	return out
}

// mend does what is to be done with a header that does not match.
func (h HeaderMatch) mend(header map[string][]string) map[string][]string {
	out := maps.Clone(header)
	if out == nil {
		out = map[string][]string{}
	}
	if h.Mismatch == MismatchDelete || h.Mismatch == MismatchReplace {
		maps.DeleteFunc(out, func(name string, _ []string) bool { return dashes(name) == dashes(h.Name) })
	}
	if h.Mismatch == MismatchAdd || h.Mismatch == MismatchReplace {
		out[h.Name] = append(slices.Clone(out[h.Name]), h.Value.Value)
	}
	return out
}

func dashes(name string) string { return strings.ReplaceAll(name, "_", "-") }
