package policy

import (
	"strings"
	"unicode/utf8"
)

// maxSeparators bounds the separators in a judged name, as each doubles its spellings: one
// with more of them never allows and always denies.
const maxSeparators = 8

// holds says whether the header is there and every value of it matches (SEMANTICS 17).
// For a deny rule one value that matches is enough: a second value must not hide the first.
// X_A and X-A are one name to many servers: beside another spelling an allow does not
// hold, and a deny does.
func (h HeaderMatch) holds(header map[string][]string, deny bool) bool {
	if h.otherSpelling(header) {
		return deny
	}
	values := header[h.Name]
	if len(values) == 0 {
		return false
	}
	joined := strings.Join(values, ",")
	if deny {
		return h.denies(joined)
	}
	return h.allows(joined)
}

// otherSpelling says whether the header is there under a name that differs in "-" and "_" only.
func (h HeaderMatch) otherSpelling(header map[string][]string) bool {
	if strings.Count(dashes(h.Name), "-") > maxSeparators {
		return true
	}
	for name := range header {
		if name != h.Name && dashes(name) == dashes(h.Name) {
			return true
		}
	}
	return false
}

// allows says whether every value matches. A comma with no space behind it may stand
// between two values; one with a space is read as part of a value.
func (h HeaderMatch) allows(joined string) bool {
	switch h.Value.Kind {
	case MatchExact, MatchPrefix:
		return h.allBegin(joined)
	case MatchRegex:
		return valueEnd(joined) == len(joined) && h.Value.holds(joined, false)
	}
	return h.Value.holds(joined, false)
}

// allBegin says whether each value is the text, or begins with it.
func (h HeaderMatch) allBegin(joined string) bool {
	rest, ok := strings.CutPrefix(joined, h.Value.Value)
	if !ok {
		return false
	}
	end := 0
	if h.Value.Kind == MatchPrefix {
		end = valueEnd(rest)
	}
	for i := range end + 1 {
		if i == len(rest) || rest[i] == ',' && h.allBegin(rest[i+1:]) {
			return true
		}
	}
	return false
}

// valueEnd returns where the first value ends at the latest.
func valueEnd(joined string) int {
	for i := range len(joined) {
		if joined[i] == ',' && (i+1 == len(joined) || joined[i+1] != ' ' && joined[i+1] != '\t') {
			return i
		}
	}
	return len(joined)
}

// denies says whether one of the values matches, wherever a comma might end one. What is
// not UTF-8 cannot be compared with an expression, and matches.
func (h HeaderMatch) denies(joined string) bool {
	if h.Value.Kind == MatchRegex && !utf8.ValidString(joined) {
		return true
	}
	parts := strings.Split(joined, ",")
	for i := range parts {
		for j := i + 1; j <= len(parts); j++ {
			if h.Value.holds(strings.Join(parts[i:j], ","), true) {
				return true
			}
		}
	}
	return false
}
