package policy

import (
	"slices"
	"strings"
)

// unclear says why a request is refused that the class's rules and the server could read
// in two ways; "" if it is not. hard is false where rules that audit alone make it so.
// The path is normalised.
func (c Class) unclear(req HTTPRequest) (reason string, hard bool) {
	if c.AllowAll == nil {
		return unclearBy(c.HTTP, req), true
	}
	if c.Refusals() {
		enforced := slices.DeleteFunc(slices.Clone(c.HTTP), func(r HTTPRule) bool { return r.Audit })
		if reason := unclearBy(enforced, req); reason != "" {
			return reason, true
		}
	}
	return unclearBy(c.HTTP, req), false
}

// Refusals says whether something in the class of HTTP is enforced: rules that audit, beside
// nothing but what allows everything, refuse nothing.
func (c Class) Refusals() bool {
	return c.AllowAll == nil || len(c.HTTP) == 0 || slices.ContainsFunc(c.HTTP, func(r HTTPRule) bool { return !r.Audit })
}

// unclearBy is unclear for some rules. Only what they look at must be clear, save
// for escaped slashes, which are refused whatever the rules are (SEMANTICS 18).
func unclearBy(rules []HTTPRule, req HTTPRequest) string {
	any := func(is func(HTTPRule) bool) bool { return slices.ContainsFunc(rules, is) }
	path, _, _ := strings.Cut(req.Path, "?")
	onPath := func(r HTTPRule) bool { return r.Path.Kind != MatchAny }
	switch {
	case hasEscaped(path, '/', '\\'),
		any(onPath) && (hasEscaped(twice(path), '.', '/', '%', '\\', 0) || hasOverlong(path) || hasDotParameter(path)),
		any(func(r HTTPRule) bool { return onPath(r) && r.Action == Deny }) && escapedTwice(path):
		return "path can be read in two ways"
	case any(func(r HTTPRule) bool { return len(r.Hosts) > 0 }) && strings.Contains(req.Host, ","):
		return "more than one host"
	}
	return ""
}

// escapes calls f with each escaped byte of the path and what follows it, until f says yes.
func escapes(path string, f func(c byte, rest string) bool) bool {
	for i := 0; i+2 < len(path); i++ {
		if path[i] == '%' && isHex(path[i+1]) && isHex(path[i+2]) && f(unhex(path[i+1])<<4|unhex(path[i+2]), path[i+3:]) {
			return true
		}
	}
	return false
}

func hasEscaped(path string, bytes ...byte) bool {
	return escapes(path, func(c byte, _ string) bool { return slices.Contains(bytes, c) })
}

// twice returns only what is escaped twice, once unescaped.
func twice(path string) string {
	var b strings.Builder
	escapes(path, func(c byte, rest string) bool {
		if c == '%' && len(rest) >= 2 {
			b.WriteString("%" + rest[:2] + " ")
		}
		return false
	})
	return b.String()
}

// escapedTwice says whether what is unescaped once still has an escape.
func escapedTwice(path string) bool {
	return escapes(path, func(c byte, rest string) bool {
		return c == '%' && len(rest) >= 2 && isHex(rest[0]) && isHex(rest[1])
	})
}

// hasOverlong says whether a character is written in more bytes of UTF-8 than it needs:
// some servers read "%c0%ae" as a dot.
func hasOverlong(path string) bool {
	return escapes(path, func(c byte, rest string) bool {
		next := byte(0)
		if len(rest) >= 3 && rest[0] == '%' && isHex(rest[1]) && isHex(rest[2]) {
			next = unhex(rest[1])<<4 | unhex(rest[2])
		}
		switch c {
		case 0xc0, 0xc1:
			return next&0xc0 == 0x80
		case 0xe0:
			return next&0xe0 == 0x80
		case 0xf0:
			return next&0xf0 == 0x80
		}
		return false
	})
}

// hasDotParameter says whether a segment is dots with parameters ("..;x"), which servers
// that ignore parameters see as dots. Normalisation leaves those that were escaped.
func hasDotParameter(path string) bool {
	for s := range strings.SplitSeq(path, "/") {
		rest, ok := strings.CutPrefix(s, ".")
		rest = strings.TrimPrefix(rest, ".")
		if ok && (strings.HasPrefix(rest, ";") || len(rest) >= 3 && strings.EqualFold(rest[:3], "%3b")) {
			return true
		}
	}
	return false
}
