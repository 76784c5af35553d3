package envoy

import (
	"regexp/syntax"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// literal is one of the texts that a regular expression's matches begin with.
type literal struct {
	text string
	end  literalEnd
}

// literalEnd is what may follow a literal's text.
type literalEnd uint8

const (
	// endText: nothing; the expression matches the text itself.
	endText literalEnd = iota
	// endAny: anything; the expression matches every string with this prefix.
	endAny
	// endMore: the expression itself must still be tried.
	endMore
)

// maxLiterals bounds the alternatives that one expression is taken apart into.
const maxLiterals = 32

// literals returns alternatives that together match what expr matches on a whole string
// without line breaks. Rules are found by them in a map; an expression that is a list
// of exact strings or prefixes, as most are, need not be run at all.
func literals(expr string) []literal {
	re, err := syntax.Parse(expr, syntax.Perl)
	if err != nil {
		return []literal{{end: endMore}}
	}
	return begins(re)
}

func begins(re *syntax.Regexp) []literal {
	switch re.Op {
	case syntax.OpEmptyMatch, syntax.OpBeginText, syntax.OpEndText:
		return []literal{{}}
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase == 0 {
			return []literal{{text: string(re.Rune)}}
		}
	case syntax.OpCapture:
		return begins(re.Sub[0])
	case syntax.OpCharClass:
		return characters(re)
	case syntax.OpStar:
		// A newline is in no path, method or host, so "." is every character here.
		if op := re.Sub[0].Op; op == syntax.OpAnyChar || op == syntax.OpAnyCharNotNL {
			return []literal{{end: endAny}}
		}
	case syntax.OpQuest:
		return append(begins(re.Sub[0]), literal{})
	case syntax.OpAlternate:
		var out []literal
		for _, sub := range re.Sub {
			if out = append(out, begins(sub)...); len(out) > maxLiterals {
				return []literal{{end: endMore}}
			}
		}
		return out
	case syntax.OpConcat:
		return concatenated(re.Sub)
	}
	return []literal{{end: endMore}}
}

func characters(re *syntax.Regexp) []literal {
	var out []literal
	for i := 0; i < len(re.Rune); i += 2 {
		for r := re.Rune[i]; r <= re.Rune[i+1]; r++ {
			if out = append(out, literal{text: string(r)}); len(out) > maxLiterals {
				return []literal{{end: endMore}}
			}
		}
	}
	if len(out) == 0 { // matches nothing
		return []literal{{end: endMore}}
	}
	return out
}

// concatenated extends each alternative that is still open by those of the next part.
func concatenated(parts []*syntax.Regexp) []literal {
	out := []literal{{}}
	for i, part := range parts {
		// "^" and "$" inside an expression hold in few places; leave that to the engine.
		if part.Op == syntax.OpBeginText && i > 0 || part.Op == syntax.OpEndText && i < len(parts)-1 {
			return unfinished(out)
		}
		next := begins(part)
		if len(out)*len(next) > maxLiterals {
			return unfinished(out)
		}
		var joined []literal
		for _, head := range out {
			switch head.end {
			case endText:
				for _, tail := range next {
					joined = append(joined, literal{text: head.text + tail.text, end: tail.end})
				}
			case endAny:
				if head.end = endMore; followsAny(next) {
					head.end = endAny
				}
				joined = append(joined, head)
			case endMore:
				joined = append(joined, head)
			}
		}
		out = joined
	}
	return out
}

// unfinished leaves the rest of what each alternative matches to the expression.
func unfinished(list []literal) []literal {
	for i := range list {
		list[i].end = endMore
	}
	return list
}

// followsAny says whether ".*" before the list is still ".*" with it.
func followsAny(list []literal) bool {
	return len(list) == 1 && list[0].text == "" && list[0].end != endMore
}

// compiles says whether all of a rule's regular expressions are ones.
func compiles(rule policy.HTTPRule) bool {
	if rule.Sealed() {
		return false
	}
	matches := slices.Concat(rule.Methods, rule.Hosts, []policy.StringMatch{rule.Path})
	for _, h := range rule.Headers {
		matches = append(matches, h.Value)
	}
	if rule.JWT != nil {
		for _, c := range rule.JWT.Claims {
			matches = append(matches, c.Values...)
		}
	}
	for _, m := range matches {
		if m.Kind != policy.MatchRegex {
			continue
		}
		if _, err := syntax.Parse(m.Value, syntax.Perl); err != nil {
			return false
		}
	}
	return true
}
