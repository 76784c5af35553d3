package policy

import (
	"regexp"
	"slices"
	"strings"
)

// holds says whether every condition of the rule holds; the request's path is normalised.
func (r HTTPRule) holds(req HTTPRequest) bool {
	deny := r.Action == Deny
	if !oneHolds(r.Methods, req.Method, deny) || !r.Path.holds(req.Path, deny) {
		return false
	}
	host := NormalizeHost(req.Host)
	if len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(m StringMatch) bool { return hostHolds(m, host, deny) }) {
		return false
	}
	return !slices.ContainsFunc(r.Headers, func(h HeaderMatch) bool { return !h.holds(req.Header, deny) })
}

func oneHolds(matches []StringMatch, value string, deny bool) bool {
	return len(matches) == 0 || slices.ContainsFunc(matches, func(m StringMatch) bool { return m.holds(value, deny) })
}

// holds says whether the whole of value matches. An expression that is not RE2 never
// allows, and always denies.
func (m StringMatch) holds(value string, deny bool) bool {
	switch m.Kind {
	case MatchAny:
		return true
	case MatchExact:
		return value == m.Value
	case MatchPrefix:
		return strings.HasPrefix(value, m.Value)
	case MatchRegex:
		return wholeMatch(m.Value, "", value, deny)
	}
	return deny
}

// hostHolds compares a lower-case host. An expression is compared without case, not
// lowered: its escapes (\D, \pL) must stay as they are.
func hostHolds(m StringMatch, host string, deny bool) bool {
	if m.Kind == MatchRegex {
		return wholeMatch(m.Value, "i", host, deny)
	}
	m.Value = strings.ToLower(m.Value)
	return m.holds(host, deny)
}

func wholeMatch(expression, flags, value string, deny bool) bool {
	// Compiled alone first: "a)|(b" is an error, not two alternatives.
	if _, err := regexp.Compile(expression); err != nil {
		return deny
	}
	re, err := regexp.Compile(`\A(?` + flags + `:` + expression + `)\z`)
	if err != nil {
		return deny
	}
	return re.MatchString(value)
}

// holds says whether the header is there and every value of it matches (SEMANTICS 17).
// For a deny rule one value that matches is enough: a second value must not hide the first.
func (h HeaderMatch) holds(header map[string][]string, deny bool) bool {
	values := header[h.Name]
	if len(values) == 0 {
		return false
	}
	matches := func(v string) bool { return h.Value.holds(v, deny) }
	if deny {
		return slices.ContainsFunc(values, matches)
	}
	return !slices.ContainsFunc(values, func(v string) bool { return !matches(v) })
}

// NormalizeHost returns a host as it is compared: lower case, without port and trailing dot.
func NormalizeHost(host string) string {
	host = strings.ToLower(host)
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		host = host[:colon]
	}
	return strings.TrimSuffix(host, ".")
}
