package policy

import "testing"

func TestStringMatch(t *testing.T) {
	for _, c := range []struct {
		match StringMatch
		value string
		deny  bool
		want  bool
	}{
		{StringMatch{}, "x", false, true},
		{StringMatch{MatchExact, "/a.b"}, "/a.b", false, true},
		{StringMatch{MatchExact, "/a.b"}, "/axb", false, false},
		{StringMatch{MatchPrefix, "/a"}, "/ab", false, true},
		{StringMatch{MatchPrefix, "/a"}, "/b", false, false},
		{StringMatch{MatchRegex, "/a|/b"}, "/ab", false, false},
		{StringMatch{MatchRegex, "/a|/b"}, "/b", false, true},
		{StringMatch{MatchRegex, "/a"}, "/a\n", false, false},
		{StringMatch{MatchRegex, "/a)|(.*"}, "/x", false, false}, // no alternative of its own
		{StringMatch{MatchRegex, "("}, "(", false, false},
		{StringMatch{MatchRegex, "("}, "/x", true, true}, // a deny that cannot be read denies
		{StringMatch{MatchKind(9), "x"}, "x", false, false},
		{StringMatch{MatchKind(9), "x"}, "y", true, true},
	} {
		if got := c.match.holds(c.value, c.deny); got != c.want {
			t.Errorf("%+v holds %q (deny %v): %v, want %v", c.match, c.value, c.deny, got, c.want)
		}
	}
}

func TestNormalizeHost(t *testing.T) {
	for in, want := range map[string]string{
		"Api.Demo": "api.demo", "api:80": "api", "api.demo.": "api.demo", "api.demo.:80": "api.demo",
		"[2001:DB8::1]:80": "[2001:db8::1]", "[2001:db8::1]": "[2001:db8::1]", "": "",
	} {
		if got := NormalizeHost(in); got != want {
			t.Errorf("NormalizeHost(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHosts(t *testing.T) {
	for _, c := range []struct {
		match StringMatch
		host  string
		want  bool
	}{
		{StringMatch{MatchExact, "Api.Demo"}, "API.demo:80", true},
		{StringMatch{MatchPrefix, "Api."}, "api.demo", true},
		{StringMatch{MatchRegex, `API\.Demo`}, "api.demo", true},
		{StringMatch{MatchRegex, `\D+`}, "api", true},
		{StringMatch{MatchRegex, "a)|(.*"}, "x", false},
		{StringMatch{MatchRegex, "api"}, "api.evil", false},
	} {
		if got := hostHolds(c.match, NormalizeHost(c.host), false); got != c.want {
			t.Errorf("%+v holds %q: %v, want %v", c.match, c.host, got, c.want)
		}
	}
}

func TestHeaders(t *testing.T) {
	exact := HeaderMatch{Name: "x", Value: StringMatch{MatchExact, "v"}}
	there := HeaderMatch{Name: "x"}
	begins := HeaderMatch{Name: "x", Value: StringMatch{MatchPrefix, "v"}}
	expr := HeaderMatch{Name: "x", Value: StringMatch{MatchRegex, "v.*"}}
	for _, c := range []struct {
		name   string
		match  HeaderMatch
		values []string
		deny   bool
		want   bool
	}{
		{"missing", exact, nil, false, false},
		{"missing, presence", there, nil, false, false},
		{"empty, presence", there, []string{""}, false, true},
		{"one", exact, []string{"v"}, false, true},
		{"two equal", exact, []string{"v", "v"}, false, true},
		{"two different", exact, []string{"v", "w"}, false, false},
		{"two different, deny", exact, []string{"w", "v"}, true, true},
		{"other, deny", exact, []string{"w"}, true, false},
		{"joined by a comma, deny", exact, []string{"w,v"}, true, true},
		{"joined by a comma", exact, []string{"v,v"}, false, true},
		{"part of a list", exact, []string{"v, w"}, false, false},
		{"prefix", begins, []string{"va", "vb"}, false, true},
		{"prefix of one", begins, []string{"va", "b"}, false, false},
		{"prefix and a list", begins, []string{"va, b"}, false, true},
		{"prefix, deny", begins, []string{"b", "va"}, true, true},
		{"expression", expr, []string{"va, b"}, false, true},
		{"expression of what may be two values", expr, []string{"va,vb"}, false, false},
		{"expression, deny", expr, []string{"b", "va"}, true, true},
		{"expression and bytes, deny", expr, []string{"\xff"}, true, true},
	} {
		header := map[string][]string{}
		if c.values != nil {
			header["x"] = c.values
		}
		if got := c.match.holds(header, c.deny); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestHeaderSpellings(t *testing.T) {
	for _, c := range []struct {
		name, sent  string
		allow, deny bool
	}{
		{"x-a-b", "x-a-b", true, true},
		{"x-a-b", "x_a-b", false, true},
		{"x-a-b", "x_a_c", false, false},
		{"a-b-c-d-e-f-g-h-i-j", "a-b-c-d-e-f-g-h-i-j", false, true}, // more spellings than are looked for
	} {
		h := HeaderMatch{Name: c.name}
		header := map[string][]string{c.sent: {"v"}}
		if allow, deny := h.holds(header, false), h.holds(header, true); allow != c.allow || deny != c.deny {
			t.Errorf("%s sent as %s: allow %v, deny %v", c.name, c.sent, allow, deny)
		}
	}
}
