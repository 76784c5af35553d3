package enforcer

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func TestDenialsInWords(t *testing.T) {
	now := time.Unix(1000, 5)
	e := &Enforcer{config: Config{Now: func() time.Time { return now }}}
	named := policy.RuleID{Policy: ref("a"), Path: "spec.ingress[0]", Name: "reads"}
	e.force.rules = map[uint32]policy.RuleID{1: rule("a"), 2: named}
	e.force.policy.Addresses = []policy.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.0/24"), Identity: 9, Namespace: "demo", Pod: "not-this"},
		{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Namespace: "demo", Pod: "server"},
		{Prefix: netip.MustParsePrefix("10.0.0.7/32"), Namespace: "demo", Pod: "client"},
		{Prefix: netip.MustParsePrefix("10.0.0.9/32"), Node: "node2"},
		{Prefix: netip.MustParsePrefix("fd00::7/128"), Namespace: "demo", Pod: "client"},
	}
	addr := netip.MustParseAddrPort
	http := func(src, method, path string) policy.Event {
		return policy.Event{Time: now, Src: addr(src), Dst: addr("10.0.0.1:80"), HTTP: &policy.HTTPEvent{Method: method, Path: path}}
	}
	packet := func(src, dst string, p policy.Protocol, rule uint32) bpf.Event {
		return bpf.Event{Src: addr(src), Dst: addr(dst), Protocol: p, Rule: rule}
	}
	byRule := http("10.0.0.7:4000", "GET", "/data")
	byRule.Rule = named
	for name, c := range map[string]struct {
		got  denial
		want denial
	}{
		"a request":           {e.deniedRequest(http("10.0.0.7:4000", "GET", "/other")), denial{what: "demo/client -> demo/server:80 GET /other"}},
		"by a rule":           {e.deniedRequest(byRule), denial{what: "demo/client -> demo/server:80 GET /data", rule: "reads"}},
		"without its query":   {e.deniedRequest(http("10.0.0.7:4000", "GET", "/other?token=secret")), denial{what: "demo/client -> demo/server:80 GET /other"}},
		"control characters":  {e.deniedRequest(http("10.0.0.7:4000", "G\x1bT", "/a\r\n\u202e\xff")), denial{what: "demo/client -> demo/server:80 G?T /a????"}},
		"no HTTP":             {e.deniedRequest(policy.Event{Time: now, Src: addr("192.0.2.1:4000"), Dst: addr("10.0.0.1:80")}), denial{what: "192.0.2.1 -> demo/server:80 HTTP"}},
		"a long path":         {e.deniedRequest(http("10.0.0.9:1", "GET", "/"+strings.Repeat("é", 500))), denial{what: "node node2 -> demo/server:80 GET /" + strings.Repeat("é", 127) + "…"}},
		"a connection":        {e.deniedPacket(packet("10.0.0.7:4000", "10.0.0.1:80", policy.ProtocolTCP, 0)), denial{what: "demo/client -> demo/server:80 TCP"}},
		"a datagram":          {e.deniedPacket(packet("10.0.0.7:4000", "10.0.0.99:53", policy.ProtocolUDP, 1)), denial{what: "demo/client -> 10.0.0.99:53 UDP", rule: "spec.ingress[0]"}},
		"IPv6":                {e.deniedPacket(packet("[fd00::7]:4000", "[fd00::1]:80", policy.ProtocolTCP, 0)), denial{what: "demo/client -> [fd00::1]:80 TCP"}},
		"ICMP":                {e.deniedPacket(packet("10.0.0.7:1", "10.0.0.1:2048", policy.ProtocolICMP, 0)), denial{what: "demo/client -> demo/server ICMP type 8"}},
		"some other protocol": {e.deniedPacket(packet("10.0.0.7:0", "10.0.0.1:0", 47, 0)), denial{what: "demo/client -> demo/server IP protocol 47"}},
	} {
		c.want.at = now.UnixNano()
		if c.got != c.want {
			t.Errorf("%s: %+v, want %+v", name, c.got, c.want)
		}
	}
}

// A counter says that something was denied, and its event what: either may come first.
func TestLastDenial(t *testing.T) {
	at := func(s float64, what string) denial { return denial{at: int64(s * 1e9), what: what} }
	for name, c := range map[string]struct {
		denials []denial
		want    denial
	}{
		"the event first":                   {[]denial{at(1, "a"), at(2, "")}, at(1, "a")},
		"the counter first":                 {[]denial{at(2, ""), at(1.5, "a")}, at(2, "a")},
		"the later event":                   {[]denial{at(1, "a"), at(2, "b")}, at(2, "b")},
		"an event that was long on its way": {[]denial{at(9, "a"), at(1, "b")}, at(9, "a")},
		"a later denial without its event":  {[]denial{at(1, "a"), at(9, "")}, at(9, "")},
	} {
		var got denial
		for _, d := range c.denials {
			got = got.or(d)
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// A policy that has no rule counts what it denies by default.
func TestPolicyWithoutRulesCounts(t *testing.T) {
	w := newWorld(t)
	u := update("1", nil, pod("p", "u1", "10.0.0.1"))
	u.NodePolicy.Tables[0].Denying = []policy.Ref{ref("nothing")}
	u.NodePolicy.Addresses = []policy.Address{{Prefix: netip.MustParsePrefix("10.0.0.1/32"), Namespace: "default", Pod: "p"}}
	w.run()
	w.updates <- u
	w.reported("1 in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == "1" })
	w.packets <- bpf.Event{Verdict: policy.Denied, Reason: "policy", Protocol: policy.ProtocolTCP,
		Src: netip.MustParseAddrPort("192.0.2.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.1:80")}
	w.reported("its denial", func(r *septumpb.NodeReport) bool {
		return len(r.Counters) == 1 && cmp.Equal([]any{"nothing", uint64(1), "192.0.2.1 -> default/p:80 TCP", ""},
			[]any{r.Counters[0].Name, r.Counters[0].Denied, r.Counters[0].LastDenial, r.Counters[0].LastRule})
	})
}
