package policy

import (
	"regexp"
	"slices"
	"strings"
)

// holds says whether every condition of the rule holds; the request's path is normalised.
func (r HTTPRule) holds(req HTTPRequest) bool {
	deny := r.Action == Deny
	if r.Sealed() {
		return deny
	}
	if !r.nameHolds(req.ServerName) {
		return false
	}
	if !oneHolds(r.Methods, req.Method, deny) || !r.pathHolds(req.Path) {
		return false
	}
	host := NormalizeHost(req.Host)
	if len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(m StringMatch) bool { return hostHolds(m, host, deny) }) {
		return false
	}
	return r.JWT.holds(req) && !slices.ContainsFunc(r.Headers, func(h HeaderMatch) bool {
		return h.Mismatch == MismatchRefuse && !h.holds(req.Header, deny)
	})
}

// pathHolds compares the path with its query. For a deny rule it is enough that it holds
// for what stands before a question mark: a query must not hide what the server sees as
// the same place.
func (r HTTPRule) pathHolds(path string) bool {
	deny := r.Action == Deny
	if r.Path.holds(path, deny) {
		return true
	}
	for i := range path {
		if deny && path[i] == '?' && r.Path.holds(path[:i], deny) {
			return true
		}
	}
	return false
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

// NormalizeHost returns a host as it is compared: lower case, without port and trailing dot.
func NormalizeHost(host string) string {
	host = strings.ToLower(host)
	if colon := strings.LastIndexByte(host, ':'); colon > strings.LastIndexByte(host, ']') {
		host = host[:colon]
	}
	return strings.TrimSuffix(host, ".")
}
