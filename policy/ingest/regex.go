package ingest

import (
	"fmt"
	"regexp/syntax"
	"slices"
	"strings"
	"unicode"

	"github.com/septum-dev/septum/policy"
)

// What an expression may cost. The proxy's own limit is five times as high, so that
// what passes here is never refused there.
const (
	// maxExpression is the longest expression, in bytes.
	maxExpression = 4096
	// maxProgram is the largest program that it may compile to, in RE2 instructions.
	maxProgram = 20000
	// maxLiterals is how many strings an expression is written out as.
	maxLiterals = 64
)

// subject is what an expression is matched with.
type subject uint8

const (
	onPath subject = iota
	onMethod
	onHost
	onHeader
)

// matchesOf returns the comparisons, as alternatives, that together mean an RE2
// expression over the whole string; none for the empty expression and for one that
// matches everything. What is looked up is faster than what is searched: expressions
// that mean one string, a beginning, or (but for paths) a few strings become that.
func matchesOf(text string, on subject) ([]policy.StringMatch, error) {
	if text == "" {
		return nil, nil
	}
	re, err := parse(text)
	if err != nil {
		return nil, err
	}
	re = unanchored(re)
	if anything(re) {
		return nil, nil
	}
	limit := maxLiterals
	if on == onPath || on == onHeader {
		limit = 1
	}
	if strs, ok := literals(re, limit); ok {
		out := make([]policy.StringMatch, len(strs))
		for i, s := range strs {
			if on == onHost {
				s = strings.ToLower(s)
			}
			out[i] = policy.StringMatch{Kind: policy.MatchExact, Value: s}
		}
		slices.SortFunc(out, func(a, b policy.StringMatch) int { return strings.Compare(a.Value, b.Value) })
		return slices.Compact(out), nil
	}
	if prefix, ok := prefixOf(re); ok && on == onPath {
		return []policy.StringMatch{{Kind: policy.MatchPrefix, Value: prefix}}, nil
	}
	if on == onHost && strings.ContainsFunc(text, unicode.IsUpper) {
		text = "(?i:" + text + ")" // hosts are compared without case (SEMANTICS 16)
	}
	return []policy.StringMatch{{Kind: policy.MatchRegex, Value: text}}, nil
}

// parse checks an expression: its syntax and what it costs (SEMANTICS 19).
func parse(text string) (*syntax.Regexp, error) {
	if len(text) > maxExpression {
		return nil, fmt.Errorf("the expression has %d bytes; at most %d are allowed", len(text), maxExpression)
	}
	re, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, fmt.Errorf("is no RE2 expression: %w", err)
	}
	if name, ok := strangeClass(text); ok {
		return nil, fmt.Errorf("the class %s is not one that every RE2 knows; use a category such as \\p{L} or \\p{Lu}, or list the characters", name)
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return nil, fmt.Errorf("is no RE2 expression: %w", err)
	}
	if size := programSize(prog); size > maxProgram {
		return nil, fmt.Errorf("the expression is too large for the proxy: about %d instructions, at most %d are allowed", size, maxProgram)
	}
	return re, nil
}

// strangeClass returns the first Unicode class of an expression that the proxy's RE2 might
// not know: Go also reads long names of categories, and scripts of a later Unicode. An
// expression that the proxy refuses would cost a pod more than its own rule.
func strangeClass(text string) (string, bool) {
	for i := 0; i+2 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++ // what is escaped, so that the p of an escaped backslash is no class
		if text[i] != 'p' && text[i] != 'P' {
			continue
		}
		name := text[i+1 : i+2]
		if end := strings.IndexByte(text[i:], '}'); name == "{" && end > 0 {
			name = strings.TrimPrefix(text[i+2:i+end], "^")
		}
		switch name {
		case "Any", "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn",
			"N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
			"Arabic", "Cyrillic", "Devanagari", "Greek", "Han", "Hangul", "Hebrew", "Hiragana", "Katakana", "Latin", "Thai":
		default:
			return name, true
		}
	}
	return "", false
}

// programSize is about what RE2 makes of a program: it works on bytes, so that a class
// of characters beyond ASCII takes several instructions for each of its ranges.
func programSize(prog *syntax.Prog) int {
	size := 0
	for i := range prog.Inst {
		size++
		switch inst := &prog.Inst[i]; inst.Op {
		case syntax.InstRune:
			size += len(inst.Rune)
			if n := len(inst.Rune); n > 0 && inst.Rune[n-1] > unicode.MaxASCII {
				size += 4 * n
			}
		case syntax.InstRuneAny, syntax.InstRuneAnyNotNL:
			size += 8
		}
	}
	return size
}

// unanchored takes away anchors at both ends, which mean nothing over the whole string.
func unanchored(re *syntax.Regexp) *syntax.Regexp {
	if re.Op == syntax.OpCapture {
		return unanchored(re.Sub[0])
	}
	if re.Op != syntax.OpConcat {
		return re
	}
	sub := re.Sub
	for len(sub) > 0 && sub[0].Op == syntax.OpBeginText {
		sub = sub[1:]
	}
	for len(sub) > 0 && sub[len(sub)-1].Op == syntax.OpEndText {
		sub = sub[:len(sub)-1]
	}
	switch len(sub) {
	case 0:
		return &syntax.Regexp{Op: syntax.OpEmptyMatch}
	case 1:
		return unanchored(sub[0])
	}
	return &syntax.Regexp{Op: syntax.OpConcat, Flags: re.Flags, Sub: sub}
}

// anything says whether an expression is `.*`. A dot matches no line break, and none of
// the strings that are compared can have one: HTTP ends the line there, and the proxy
// refuses it in HTTP/2.
func anything(re *syntax.Regexp) bool {
	return re.Op == syntax.OpStar && (re.Sub[0].Op == syntax.OpAnyChar || re.Sub[0].Op == syntax.OpAnyCharNotNL)
}

// prefixOf returns the string that an expression wants at the beginning, if it is that
// string and then `.*`.
func prefixOf(re *syntax.Regexp) (string, bool) {
	if re.Op != syntax.OpConcat || !anything(re.Sub[len(re.Sub)-1]) {
		return "", false
	}
	head := &syntax.Regexp{Op: syntax.OpConcat, Sub: re.Sub[:len(re.Sub)-1]}
	strs, ok := literals(head, 1)
	if !ok || strs[0] == "" {
		return "", false
	}
	return strs[0], true
}

// literals returns all the strings that an expression matches, if these are few.
func literals(re *syntax.Regexp, limit int) ([]string, bool) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		return []string{""}, true
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 && slices.ContainsFunc(re.Rune, unicode.IsLetter) {
			return nil, false
		}
		return []string{string(re.Rune)}, true
	case syntax.OpCharClass:
		return classLiterals(re.Rune, limit)
	case syntax.OpCapture:
		return literals(re.Sub[0], limit)
	case syntax.OpQuest:
		strs, ok := literals(re.Sub[0], limit-1)
		return append(strs, ""), ok && limit > 1
	case syntax.OpAlternate:
		var out []string
		for _, sub := range re.Sub {
			strs, ok := literals(sub, limit-len(out))
			if !ok {
				return nil, false
			}
			out = append(out, strs...)
		}
		return out, len(out) <= limit
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range re.Sub {
			strs, ok := literals(sub, limit)
			if !ok || len(out)*len(strs) > limit {
				return nil, false
			}
			var next []string
			for _, head := range out {
				for _, tail := range strs {
					next = append(next, head+tail)
				}
			}
			out = next
		}
		return out, true
	}
	return nil, false
}

func classLiterals(ranges []rune, limit int) ([]string, bool) {
	var out []string
	for i := 0; i+1 < len(ranges); i += 2 {
		if int(ranges[i+1]-ranges[i])+1+len(out) > limit {
			return nil, false
		}
		for r := ranges[i]; r <= ranges[i+1]; r++ {
			out = append(out, string(r))
		}
	}
	return out, len(out) > 0
}
