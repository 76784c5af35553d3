package envoy

import (
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestRates: what is above a rule's rate is refused and reported, each rule counts by itself, and
// what a rule without a rate allows is not counted. The rates are so slow that no bucket fills.
func TestRates(t *testing.T) {
	slow := func(burst uint32) policy.Rate { return policy.Rate{Requests: 1, Burst: burst, Per: time.Hour} }
	rules := []policy.HTTPRule{
		{Path: prefix("/a"), Rate: slow(3)},
		{Path: exact("/a/free")},
		{Path: exact("/b"), Rate: slow(2)},
		{Path: regex("/[ab]"), Rate: slow(50)},
		{Path: exact("/denied"), Action: policy.Deny},
		{Path: prefix("/denied"), Rate: slow(1)},
	}
	class := classOf("c", rules...)
	audited := classOf("audited", policy.HTTPRule{Rate: slow(1)})
	audited.Audit = true
	all := ruleID("spec.ingress[9]")
	open := classOf("open", policy.HTTPRule{Rate: slow(1)})
	open.AllowAll = &all
	e := startEnvoy(t, echo(t, hello))
	addrs := e.apply(t, class, audited, open)
	for _, tt := range []struct {
		class policy.ClassID
		path  string
		codes []int
		rule  string
	}{
		{"c", "/a", []int{200, 200, 200, 429, 429}, "spec.ingress[0].http[0]"},
		{"c", "/a/free", []int{200, 200, 200, 200}, "spec.ingress[0].http[1]"},
		{"c", "/b", []int{200, 200, 429}, "spec.ingress[0].http[2]"},
		{"c", "/a", []int{429}, "spec.ingress[0].http[0]"},
		{"c", "/denied", []int{403, 403}, "spec.ingress[0].http[4]"},
		{"c", "/denied/not", []int{200, 429}, "spec.ingress[0].http[5]"},
		{"c", "/other", []int{403, 403}, ""},
		{"audited", "/", []int{200, 200, 200}, "spec.ingress[0].http[0]"},
		{"open", "/", []int{200, 200, 200}, ""},
	} {
		c := dialHTTP(t, addrs[tt.class])
		for i, want := range tt.codes {
			req := policy.HTTPRequest{Method: "GET", Path: tt.path, Host: "server"}
			if got := c.do(t, req); got != want {
				t.Errorf("%s %s, %d: %d, want %d", tt.class, tt.path, i, got, want)
			}
			if want == 429 && c.body != "Too many requests\r\n" {
				t.Errorf("the body is %q", c.body)
			}
			select {
			case ev := <-e.events:
				if (ev.Verdict == policy.Denied) != (want != 200) || tt.rule != "" && ev.Rule.Path != tt.rule || (ev.DropReason == "above the rule's rate") != (want == 429) {
					t.Errorf("%s %s, %d: the event says %d by %q: %q", tt.class, tt.path, i, ev.Verdict, ev.Rule.Path, ev.DropReason)
				}
			case <-time.After(5 * time.Second):
				t.Fatal("no event")
			}
		}
		c.conn.Close()
	}
	if d := class.DecideHTTP(policy.HTTPRequest{Method: "GET", Path: "/b", Host: "server"}); d.Rate != slow(2) || d.Rule.Path != "spec.ingress[0].http[2]" {
		t.Errorf("the oracle says %+v", d)
	}
}
