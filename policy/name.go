package policy

import (
	"fmt"
	"strings"
)

// NamePattern selects names of the DNS: a name itself ("www.example.com"), or a pattern.
// In a pattern * is zero or more of the letters, digits, "-" and "_" of one label; a
// leading "**." is one or more labels; * alone is every name. It is in lower case and has
// no trailing dot.
type NamePattern string

// EveryName is the pattern that matches every name, also those that no host can have.
const EveryName NamePattern = "*"

// The longest name, and the longest label, that the DNS can carry.
const (
	maxName  = 253
	maxLabel = 63
)

// ParseName reads a name without patterns.
func ParseName(text string) (NamePattern, error) {
	if strings.Contains(text, "*") {
		return "", fmt.Errorf("%q is a pattern, and no name; write it as a pattern", text)
	}
	return ParsePattern(text)
}

// ParsePattern reads a pattern, or a name.
func ParsePattern(text string) (NamePattern, error) {
	name := NormalizeName(text)
	if NamePattern(name) == EveryName {
		return EveryName, nil
	}
	if name == "" {
		return "", fmt.Errorf("%q is no name", text)
	}
	if len(name) > maxName {
		return "", fmt.Errorf("%.40q… is longer than the %d characters that a name can have", text, maxName)
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return "", fmt.Errorf("%q has an empty label: two dots side by side, or one in front", text)
		case len(strings.ReplaceAll(label, "*", "")) > maxLabel:
			return "", fmt.Errorf("%q has a label of more than %d characters", text, maxLabel)
		}
		for i := range len(label) {
			if !isNameByte(label[i]) && label[i] != '*' {
				return "", fmt.Errorf("%q: %q is none of letters, digits, - and _; names in other scripts are written in their ASCII form (xn--…)", text, label[i])
			}
		}
	}
	return NamePattern(name), nil
}

// NormalizeName returns a name as it is compared: in lower case, without its trailing dot.
func NormalizeName(name string) string {
	return strings.TrimSuffix(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name), ".")
}

func isNameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_'
}

// IsName says whether the pattern selects one name only.
func (p NamePattern) IsName() bool { return !strings.Contains(string(p), "*") }

// Matches says whether the pattern selects a normalised name.
func (p NamePattern) Matches(name string) bool {
	if p == EveryName {
		return true
	}
	pattern := string(p)
	if rest, ok := strings.CutPrefix(pattern, "**."); ok {
		return endsInLabels(name, rest)
	}
	for {
		label, rest, more := strings.Cut(pattern, ".")
		have, tail, haveMore := strings.Cut(name, ".")
		if more != haveMore || !matchLabel(label, have) {
			return false
		}
		if !more {
			return true
		}
		pattern, name = rest, tail
	}
}

// endsInLabels says whether name is one or more labels and then what pattern selects.
func endsInLabels(name, pattern string) bool {
	for labels := strings.Count(name, ".") - strings.Count(pattern, "."); labels > 0; labels-- {
		label, rest, _ := strings.Cut(name, ".")
		if !isLabel(label) {
			return false
		}
		name = rest
		if labels == 1 {
			return NamePattern(pattern).matchesLabels(name)
		}
	}
	return false
}

// matchesLabels is Matches without a meaning of its own for * alone, and "**." in front.
func (p NamePattern) matchesLabels(name string) bool {
	labels, have := strings.Split(string(p), "."), strings.Split(name, ".")
	if len(labels) != len(have) {
		return false
	}
	for i := range labels {
		if !matchLabel(labels[i], have[i]) {
			return false
		}
	}
	return true
}

func isLabel(label string) bool {
	for i := range len(label) {
		if !isNameByte(label[i]) {
			return false
		}
	}
	return label != ""
}

// matchLabel compares one label with a pattern, in which * is any run of a name's characters.
func matchLabel(pattern, label string) bool {
	// Only what stands behind the last * that was met has to be tried again.
	p, s, star, from := 0, 0, -1, 0
	for s < len(label) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, s
			p++
		case p < len(pattern) && pattern[p] == label[s]:
			p++
			s++
		case star >= 0 && isNameByte(label[from]):
			from++
			p, s = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
