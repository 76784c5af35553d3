package envoy

import (
	"regexp"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"

	"github.com/septum-dev/septum/policy"
)

const (
	methodHeader = ":method"
	pathHeader   = ":path"
	hostHeader   = ":authority"
	// maxDoubles bounds the separators in a header's name: each doubles its spellings.
	maxDoubles = 8
)

type text = xdsmatcherv3.StringMatcher

// conditionsFor returns what must hold beside the path.
func conditionsFor(rule policy.HTTPRule) []*predicate {
	var out []*predicate
	if len(rule.Names) > 0 {
		var names []*predicate
		for _, n := range rule.Names {
			names = append(names, serverNameMatches(nameText(n)))
		}
		out = append(out, or(names...))
	}
	if len(rule.Methods) > 0 {
		out = append(out, methodFor(rule.Methods))
	}
	if len(rule.Hosts) > 0 {
		var hosts []*predicate
		for _, h := range rule.Hosts {
			hosts = append(hosts, headerMatches(hostHeader, hostText(h)))
		}
		out = append(out, or(hosts...))
	}
	if rule.JWT != nil {
		out = append(out, tokenFor(rule.JWT))
	}
	for _, h := range rule.Headers {
		if h.Mismatch == policy.MismatchRefuse {
			out = append(out, headerFor(h, rule.Action))
		}
	}
	return out
}

func methodFor(methods []policy.StringMatch) *predicate {
	var out []*predicate
	for _, m := range methods {
		if m.Kind != policy.MatchRegex {
			out = append(out, headerMatches(methodHeader, plainText(m)))
			continue
		}
		for _, l := range literals(m.Value) {
			switch {
			case l.end == endMore || l.text == "":
				out = append(out, headerMatches(methodHeader, regexText(m.Value)))
			case l.end == endAny:
				out = append(out, headerMatches(methodHeader, prefixText(l.text)))
			default:
				out = append(out, headerMatches(methodHeader, exactText(l.text)))
			}
		}
	}
	return or(out...)
}

// hostText compares a host without case, port and trailing dot. The host itself is not
// changed, since the server is to get it as it was sent.
func hostText(m policy.StringMatch) *text {
	const end = `\.?(?::[0-9]*)?`
	switch m.Kind {
	case policy.MatchExact:
		return regexText(`(?i:` + regexp.QuoteMeta(m.Value) + `)` + end)
	case policy.MatchPrefix:
		return regexText(`(?i:` + regexp.QuoteMeta(m.Value) + `)[^:]*(?::[0-9]*)?`)
	case policy.MatchRegex:
		return regexText(`(?i:` + m.Value + `)` + end)
	}
	return anyText()
}

// headerFor judges a header on every line that it has. Envoy shows a matcher all lines
// joined by commas, and spaces around a line's value are gone: a comma with no space
// behind it may be a seam. For an allow every line must match, for a deny one is enough;
// where a single value could also be two lines, it is closed.
// The same name written with underscores is the same header for many servers: an allow
// does not hold beside one, and a deny does.
func headerFor(h policy.HeaderMatch, action policy.Action) *predicate {
	name := h.Name
	if name == "host" {
		name = hostHeader
	}
	doubles, ok := doublesOf(name)
	if action == policy.Deny {
		if !ok {
			return anyMethod()
		}
		return or(append(doubles, sent(name, denyValue(name, h.Value)))...)
	}
	if !ok {
		return not(anyMethod())
	}
	value := sent(name, allowValue(name, h.Value))
	if len(doubles) == 0 {
		return value
	}
	return and(value, not(or(doubles...)))
}

// sent takes away from what matches a header the value that stands for its absence.
func sent(name string, value *predicate) *predicate {
	if name != protoHeader {
		return value
	}
	return and(value, not(headerMatches(protoHeader, exactText(protoAbsent))))
}

// line is a header's value up to a seam.
const line = `(?:[^,]|,[ \t])*`

func allowValue(name string, m policy.StringMatch) *predicate {
	quoted := regexp.QuoteMeta(m.Value)
	switch m.Kind {
	case policy.MatchExact:
		return headerMatches(name, regexText(quoted+`(?:,`+quoted+`)*`))
	case policy.MatchPrefix:
		return headerMatches(name, regexText(quoted+line+`(?:,`+quoted+line+`)*`))
	case policy.MatchRegex:
		return and(headerMatches(name, regexText(line)), headerMatches(name, regexText(m.Value)))
	}
	return headerMatches(name, anyText())
}

func denyValue(name string, m policy.StringMatch) *predicate {
	value := ""
	switch m.Kind {
	case policy.MatchExact:
		value = regexp.QuoteMeta(m.Value)
	case policy.MatchPrefix:
		value = regexp.QuoteMeta(m.Value) + `\C*`
	case policy.MatchRegex:
		// "." matches no byte that is not UTF-8: such a value is denied as it cannot be judged.
		return and(headerMatches(name, anyText()), or(
			headerMatches(name, regexText(`(?:\C*,)?(?:`+m.Value+`)(?:,\C*)?`)),
			not(headerMatches(name, regexText(`(?s:.*)`)))))
	default:
		return headerMatches(name, anyText())
	}
	return headerMatches(name, regexText(`(?:\C*,)?`+value+`(?:,\C*)?`))
}

// doublesOf returns the presence of each other spelling of a name; false if there are too many.
func doublesOf(name string) ([]*predicate, bool) {
	names, ok := spellingsOf(name)
	var out []*predicate
	for _, s := range names {
		out = append(out, headerMatches(s, anyText()))
	}
	return out, ok
}

// spellingsOf returns each other spelling of a name with "_" for "-" or the other way
// round; false if there are too many.
func spellingsOf(name string) ([]string, bool) {
	var at []int
	for i, c := range name {
		if c == '-' || c == '_' {
			at = append(at, i)
		}
	}
	if len(at) > maxDoubles {
		return nil, false
	}
	var out []string
	for bits := range 1 << len(at) {
		spelling := []byte(name)
		for i, pos := range at {
			spelling[pos] = "-_"[bits>>i&1]
		}
		if s := string(spelling); s != name {
			out = append(out, s)
		}
	}
	return out, true
}

// judged is what a class's rules look at, and so what must not be read in two ways.
type judged struct{ paths, deniedPaths, hosts bool }

func (j *judged) look(rule policy.HTTPRule) {
	j.paths = j.paths || rule.Path.Kind != policy.MatchAny
	j.deniedPaths = j.deniedPaths || rule.Path.Kind != policy.MatchAny && rule.Action == policy.Deny
	j.hosts = j.hosts || len(rule.Hosts) > 0
}

// badPath matches a path (less its query) that a server could read in another way than it
// was judged. Escaped slashes are refused whatever the rules are (SEMANTICS 18). Where a rule looks at
// paths, so are overlong UTF-8, dots and slashes that are escaped twice, and dot segments
// with parameters: Envoy removes "..;x", but makes "%2e%2e;x" into that and lets it be.
// Where a deny does, so is everything that is escaped twice.
func badPath(j judged) *predicate {
	const hex, tail = `[0-9A-Fa-f]`, `%[89ABab]`
	bad := []string{`%2[Ff]`, `%5[Cc]`, `%00`}
	if j.paths {
		bad = append(bad, `%25(?:2[EeFf5]|5[Cc]|00)`, `/\.\.?(?:;|%3[Bb])`, `%[Cc][01]`+tail, `%[Ee]0%[89]`, `%[Ff]0%8`)
	}
	if j.deniedPaths {
		bad = append(bad, `%25`+hex+hex)
	}
	return headerMatches(pathHeader, regexText(`[^?]*(?:`+strings.Join(bad, "|")+`)\C*`))
}

// twoHosts matches a request that had several hosts, which Envoy joins by commas.
func twoHosts() *predicate {
	return headerMatches(hostHeader, &text{MatchPattern: &xdsmatcherv3.StringMatcher_Contains{Contains: ","}})
}

func headerMatches(name string, value *text) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   headerInput(name),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: value},
		},
	}}
}

// anyMethod holds for every request: each has a method.
func anyMethod() *predicate { return headerMatches(methodHeader, anyText()) }

// and returns nil for no conditions: it always holds.
func and(list ...*predicate) *predicate {
	if len(list) < 2 {
		return only(list)
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list}}}
}

func or(list ...*predicate) *predicate {
	if len(list) < 2 {
		return only(list)
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list}}}
}

func only(list []*predicate) *predicate {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

func not(p *predicate) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

func plainText(m policy.StringMatch) *text {
	switch m.Kind {
	case policy.MatchExact:
		return exactText(m.Value)
	case policy.MatchPrefix:
		return prefixText(m.Value)
	case policy.MatchRegex:
		return regexText(m.Value)
	}
	return anyText()
}

func exactText(s string) *text {
	return &text{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: valid(s)}}
}

func prefixText(s string) *text {
	if s == "" {
		return anyText()
	}
	return &text{MatchPattern: &xdsmatcherv3.StringMatcher_Prefix{Prefix: valid(s)}}
}

func regexText(s string) *text {
	if s == "" { // Envoy takes no empty expression
		s = "(?:)"
	}
	return &text{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{SafeRegex: &xdsmatcherv3.RegexMatcher{
		Regex: valid(s), EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
	}}}
}

// anyText matches every value that is there, also one that is not UTF-8.
func anyText() *text { return regexText(`\C*`) }

// valid keeps what cannot be sent from being sent; what it changes then matches nothing real.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
