package policy

import (
	"net/netip"
	"regexp"
	"strings"
	"testing"
)

func TestNamePattern(t *testing.T) {
	for pattern, names := range map[string]string{
		"www.cilium.io":   "www.cilium.io !cilium.io !a.www.cilium.io !www.cilium.io.evil !wwwXcilium.io",
		"WWW.Cilium.io.":  "www.cilium.io",
		"*.cilium.io":     "www.cilium.io -.cilium.io !cilium.io !a.b.cilium.io !www.cilium.io.a !www.ciliumxio",
		"*cilium.io":      "cilium.io sub-cilium.io !www.cilium.io",
		"**.cilium.io":    "www.cilium.io a.b.cilium.io a.b.c.d.cilium.io !cilium.io !.cilium.io !a..cilium.io",
		"sub*.cilium.io":  "sub.cilium.io subx.cilium.io !xsub.cilium.io !sub.a.cilium.io",
		"a*b*c.d":         "abc.d axbxc.d abbcc.d !ab.c.d !abcx.d",
		"*.*.a":           "x.y.a !x.a !x.y.z.a",
		"a.**.b":          "a.x.b !a.x.y.b",
		"**.*.a":          "x.y.a x.y.z.a !y.a",
		"*":               "anything a.b .. \x00.x",
		"*.local":         "a.local !a\\.b.local !a b.local !ä.local !*.local",
		"_dns._udp.a":     "_dns._udp.a",
		"*.*":             "a.b !a !a.b.c",
		"**.example.com":  "www.example.com !wwwexample.com !a*b.example.com",
		"**.*example.com": "a.example.com a.b.myexample.com !example.com",
	} {
		p, err := ParsePattern(pattern)
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
		for _, name := range strings.Fields(strings.ReplaceAll(names, "a b.", "a\u00a0b.")) {
			name, not := strings.CutPrefix(name, "!")
			if p.Matches(name) == not {
				t.Errorf("%q matches %q: %v", pattern, name, !not)
			}
		}
	}
	for _, bad := range []string{"", ".", "a..b", ".a", "a b", "a.ä", "a\\.b", strings.Repeat("a", 64) + ".b", strings.Repeat("a.", 127) + "b"} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	if _, err := ParseName("*.a"); err == nil {
		t.Error("a pattern is accepted as a name")
	}
}

// expression is what Cilium makes of a pattern.
func expression(p NamePattern) *regexp.Regexp {
	text, chars := string(p), "[-a-zA-Z0-9_]"
	head := ""
	if rest, ok := strings.CutPrefix(text, "**."); ok {
		head, text = "("+chars+"+[.])+", rest
	}
	text = strings.ReplaceAll(text, ".", "[.]")
	return regexp.MustCompile(`\A` + head + strings.ReplaceAll(text, "*", chars+"*") + `\z`)
}

func FuzzNamePattern(f *testing.F) {
	f.Add("*.a.b", "x.a.b")
	f.Add("**.a*a", "b.aba")
	f.Add("a*b*b.c", "abbb.c")
	f.Add("**.**.a", "b.c.a")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		p, err := ParsePattern(pattern)
		if err != nil || p == EveryName {
			return
		}
		name = NormalizeName(name)
		if got, want := p.Matches(name), expression(p).MatchString(name); got != want {
			t.Errorf("%q matches %q: %v, want %v", p, name, got, want)
		}
	})
}

func TestDecideDNS(t *testing.T) {
	rule := func(path string, p NamePattern) DNSRule { return DNSRule{ID: RuleID{Path: path}, Name: p} }
	c := Class{DNS: []DNSRule{rule("1", "*.a"), rule("2", "x.a"), rule("3", "y.b"), rule("4", "*.b")}}
	m := NewNameMatcher(c)
	for name, want := range map[string]string{"x.a": "1", "X.A.": "1", "y.b": "3", "z.b": "4", "c": ""} {
		for _, d := range []Decision{c.DecideDNS(DNSRequest{name}), m.Decide(DNSRequest{name})} {
			if d.Rule.Path != want || (d.Verdict == Forwarded) != (want != "") {
				t.Errorf("%s: %+v, want rule %q", name, d, want)
			}
		}
	}
	c.Audit = true
	if d := NewNameMatcher(c).Decide(DNSRequest{"c"}); d.Verdict != Audited {
		t.Errorf("in Audit mode: %+v", d)
	}
}

func TestLearner(t *testing.T) {
	np := NodePolicy{
		Addresses: []Address{{Prefix: prefix("10.1.0.0/16"), Identity: IdentityUnmanaged}, {Prefix: prefix("203.0.113.0/24"), Identity: FirstCIDRIdentity + 1},
			{Prefix: prefix("172.18.0.1/32"), Identity: IdentityHost}, {Prefix: prefix("10.96.0.1/32"), Identity: FirstServiceIdentity}},
		Identities: []IdentityLabels{{FirstNameIdentity + 1, Labels{"fqdn:*.a": "", "reserved:world": ""}}},
	}
	l := NewLearner(np)
	if !l.Wants("x.a") || l.Wants("x.b") {
		t.Error("wants the wrong names")
	}
	for _, good := range []string{"8.8.8.8", "203.0.113.7", "2001:db8::1", "192.168.1.1", "64:ff9b::808:808"} {
		if reason := l.Refuses(addr(good)); reason != "" {
			t.Errorf("%s is refused: %s", good, reason)
		}
	}
	for _, bad := range []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "255.255.255.255",
		"fd00:ec2::254", "100.100.100.200", "10.1.2.3", "172.18.0.1", "10.96.0.1", "64:ff9b::a01:203", "64:ff9b::7f00:1", "::ffff:10.1.2.3"} {
		if l.Refuses(addr(bad)) == "" {
			t.Errorf("%s is learnt", bad)
		}
	}
	if l.Refuses(addr("fe80::1%eth0")) == "" {
		t.Error("an address with a zone is learnt")
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

// What one table's pods learn opens nothing to another's.
func TestLearntByTable(t *testing.T) {
	const a, b = FirstNameIdentity + 1, FirstNameIdentity + 2
	rule := func(path string) []RuleID {
		return []RuleID{{Policy: Ref{Kind: "L7NetworkPolicy", Name: "p"}, Path: path}}
	}
	table := func(id TableID, d Direction) Table {
		return Table{ID: id, Direction: d, DefaultDeny: true, Entries: []Entry{
			{Identity: IdentityWorld, Protocol: ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: Forwarded, Rules: rule("world")},
			{Identity: a, Protocol: ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: Forwarded, Rules: rule("world")},
			{Identity: a, Protocol: ProtocolTCP, Port: 443, PrefixLen: 16, Verdict: Forwarded, Rules: rule("a")},
			{Identity: b, Protocol: ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: Forwarded, Rules: rule("world")},
			{Identity: b, Protocol: ProtocolTCP, Port: 8443, PrefixLen: 16, Verdict: Forwarded, Rules: rule("b")},
		}}
	}
	np := NodePolicy{
		Tables: []Table{table("in", Ingress), table("one", Egress), table("two", Egress)},
		Identities: []IdentityLabels{
			{IdentityWorld, Labels{"reserved:world": ""}},
			{a, Labels{"fqdn:a.example": "", "reserved:world": ""}}, {b, Labels{"fqdn:b.example": "", "reserved:world": ""}},
		},
	}
	got := WithLearnt(np, []Learnt{
		{Addr: addr("192.0.2.1"), Names: []string{"a.example"}, Tables: []TableID{"one"}},
		{Addr: addr("192.0.2.1"), Names: []string{"b.example"}, Tables: []TableID{"two"}},
		{Addr: addr("192.0.2.2"), Names: []string{"a.example"}, Tables: []TableID{"in", "gone"}},
		{Addr: addr("192.0.2.3"), Names: []string{"a.example"}},
	})
	for _, want := range []struct {
		addr  string
		table int
		port  uint16
		open  bool
	}{
		{"192.0.2.1", 1, 443, true}, {"192.0.2.1", 1, 8443, false}, {"192.0.2.1", 2, 443, false}, {"192.0.2.1", 2, 8443, true},
		{"192.0.2.1", 1, 80, true}, {"192.0.2.1", 0, 80, true}, {"192.0.2.1", 0, 443, false},
		{"192.0.2.2", 0, 443, false}, {"192.0.2.2", 1, 443, false}, {"192.0.2.2", 1, 80, true},
		{"192.0.2.3", 1, 443, true}, {"192.0.2.3", 2, 443, true}, {"192.0.2.3", 2, 8443, false},
	} {
		e, ok := got.Tables[want.table].Lookup(got.IdentityOf(addr(want.addr)), ProtocolTCP, want.port)
		if (ok && e.Verdict == Forwarded) != want.open {
			t.Errorf("%s:%d in %s: %+v, want open %v", want.addr, want.port, got.Tables[want.table].ID, e, want.open)
		}
	}
	if again := WithLearnt(got, nil); len(again.Tables[1].Entries) != len(np.Tables[1].Entries) {
		t.Errorf("local entries stay: %+v", again.Tables[1].Entries)
	}
}
