package envoy

import (
	"maps"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/septum-dev/septum/policy"
)

type (
	matcher   = xdsmatcherv3.Matcher
	onMatch   = xdsmatcherv3.Matcher_OnMatch
	predicate = xdsmatcherv3.Matcher_MatcherList_Predicate
)

// entry is one way to reach a rule: its path's exact text or prefix, and what else must hold.
type entry struct {
	key  string
	more *predicate // nil: nothing more
	then *rbacv3.Action
}

// entries are the rules of one action, by how they are found.
type entries struct {
	exact, prefix map[string][]entry
	// rest can only be tried one after the other.
	rest []entry
}

// sorted are a class's rules by what they do, and what is looked at by all and by those that
// are enforced.
type sorted struct {
	deny, audit, allow []policy.HTTPRule
	all, enforced      judged
}

func sort(class policy.Class) sorted {
	var s sorted
	rated := len(class.Rated()) > 0 // these are a stage of their own
	for _, rule := range class.HTTP {
		if !compiles(rule) {
			// Ingest lets none through. One bad expression would cost the class all its
			// rules; so an allow is left out, and a deny is left without conditions.
			if rule.Action == policy.Allow {
				continue
			}
			rule = policy.HTTPRule{ID: rule.ID, Action: policy.Deny, Audit: rule.Audit}
		}
		s.all.look(rule)
		if !rule.Audit {
			s.enforced.look(rule)
		}
		switch {
		case rated && rule.Action == policy.Allow && rule.Rate.Limited():
		case rule.Action == policy.Allow:
			s.allow = append(s.allow, rule)
		case rule.Audit:
			s.audit = append(s.audit, rule)
		default:
			s.deny = append(s.deny, rule)
		}
	}
	if class.AllowAll == nil || class.Audit {
		// What is unclear could match what alone allows it.
		s.enforced = s.all
	}
	return s
}

// matcherFor returns the tree that judges a class's requests: what could be read in two
// ways, then the denies, then the allows; in each by exact path, by prefix, and last
// what has no beginning to be found by. What is not found in one step goes on to the next.
func matcherFor(class policy.Class) *matcher {
	last := denied(defaultDeny)
	if class.AllowAll != nil {
		last = allowed(encodeRule(*class.AllowAll))
		if class.AuditRest {
			last = allowed(auditPrefix + encodeRule(*class.AllowAll))
		}
	}
	s := sort(class)
	// With AllowAll the allows decide nothing, but name the rule.
	next := stage(s.allow, ratedStage(class, act(last)))
	if class.Audit {
		next = stage(s.audit, next)
	}
	next = stage(s.deny, next)
	if !class.Refusals() && !class.Audit {
		return &matcher{OnNoMatch: next}
	}
	return list(unclear(s.enforced), next)
}

// reportFor returns the tree that finds what rules that audit would have refused; nil if there
// is nothing to find.
func reportFor(class policy.Class) *matcher {
	s := sort(class)
	if len(s.audit) == 0 && class.AuditAll == nil && s.all == s.enforced && class.Refusals() {
		return nil
	}
	last := allowed(passed)
	if class.AuditAll != nil {
		last = denied(encodeRule(*class.AuditAll))
	}
	return list(unclear(s.all), stage(s.audit, act(last)))
}

// unclear finds what could be read in two ways.
func unclear(j judged) []entry {
	out := []entry{{more: badPath(j), then: denied(badPathDeny)}}
	if j.hosts {
		out = append(out, entry{more: twoHosts(), then: denied(twoHostsDeny)})
	}
	return out
}

// stage puts the rules before next.
func stage(rules []policy.HTTPRule, next *onMatch) *onMatch {
	found := entries{exact: map[string][]entry{}, prefix: map[string][]entry{}}
	for _, rule := range rules {
		found.add(rule)
	}
	if len(found.rest) > 0 {
		next = leaf(found.rest, next)
	}
	if len(found.prefix) > 0 {
		next = nest(tree(found.prefix, next, func(m *xdsmatcherv3.Matcher_MatcherTree_MatchMap) *xdsmatcherv3.Matcher_MatcherTree {
			return &xdsmatcherv3.Matcher_MatcherTree{TreeType: &xdsmatcherv3.Matcher_MatcherTree_PrefixMatchMap{PrefixMatchMap: m}}
		}))
	}
	if len(found.exact) > 0 {
		next = nest(tree(found.exact, next, func(m *xdsmatcherv3.Matcher_MatcherTree_MatchMap) *xdsmatcherv3.Matcher_MatcherTree {
			return &xdsmatcherv3.Matcher_MatcherTree{TreeType: &xdsmatcherv3.Matcher_MatcherTree_ExactMatchMap{ExactMatchMap: m}}
		}))
	}
	return next
}

// add files a rule under each text that its path can begin with.
func (e *entries) add(rule policy.HTTPRule) {
	then := actionFor(rule)
	conditions := conditionsFor(rule)
	file := func(l literal, more *predicate) {
		l.text = valid(l.text)
		item := entry{key: l.text, more: more, then: then}
		switch {
		case l.end == endText && l.text != "":
			e.exact[l.text] = append(e.exact[l.text], item)
			if rule.Action == policy.Deny { // a query must not hide the path
				item.key += "?"
				e.prefix[item.key] = append(e.prefix[item.key], item)
			}
		case l.end != endText && l.text != "":
			e.prefix[l.text] = append(e.prefix[l.text], item)
		default:
			e.rest = append(e.rest, item)
		}
	}
	switch rule.Path.Kind {
	case policy.MatchAny:
		e.rest = append(e.rest, entry{more: and(conditions...), then: then})
	case policy.MatchExact:
		file(literal{text: rule.Path.Value}, and(conditions...))
	case policy.MatchPrefix:
		if rule.Path.Value == "" {
			conditions = append(conditions, headerMatches(pathHeader, anyText()))
		}
		file(literal{text: rule.Path.Value, end: endAny}, and(conditions...))
	default:
		expression := rule.Path.Value
		if rule.Action == policy.Deny {
			expression = `(?:` + expression + `)(?:\?\C*)?`
		}
		whole := headerMatches(pathHeader, regexText(expression))
		for _, l := range literals(rule.Path.Value) {
			if l.end == endMore || l.text == "" {
				file(l, and(append(slices.Clone(conditions), whole)...))
			} else {
				file(l, and(conditions...))
			}
		}
	}
}

// tree makes a map of paths whose misses, also those of a path's other conditions, go on to next.
func tree(by map[string][]entry, next *onMatch, kind func(*xdsmatcherv3.Matcher_MatcherTree_MatchMap) *xdsmatcherv3.Matcher_MatcherTree) *matcher {
	children := make(map[string]*onMatch, len(by))
	for _, key := range slices.Sorted(maps.Keys(by)) {
		children[key] = leaf(by[key], nil)
	}
	t := kind(&xdsmatcherv3.Matcher_MatcherTree_MatchMap{Map: children})
	t.Input = headerInput(pathHeader)
	return &matcher{MatcherType: &xdsmatcherv3.Matcher_MatcherTree_{MatcherTree: t}, OnNoMatch: next}
}

// leaf tries the entries in turn; one without conditions ends the list.
func leaf(items []entry, next *onMatch) *onMatch {
	for i, item := range items {
		if item.more == nil {
			items, next = items[:i], act(item.then)
			break
		}
	}
	if len(items) == 0 {
		return next
	}
	return nest(list(items, next))
}

func list(items []entry, next *onMatch) *matcher {
	fields := make([]*xdsmatcherv3.Matcher_MatcherList_FieldMatcher, 0, len(items))
	for _, item := range items {
		fields = append(fields, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{Predicate: item.more, OnMatch: act(item.then)})
	}
	return &matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: fields}},
		OnNoMatch:   next,
	}
}

func nest(m *matcher) *onMatch {
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Matcher{Matcher: m}}
}

func act(a *rbacv3.Action) *onMatch {
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "action", TypedConfig: anyFor(a),
	}}}
}

func headerInput(name string) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{
		Name: "header", TypedConfig: anyFor(&typematcherv3.HttpRequestHeaderMatchInput{HeaderName: name}),
	}
}
