package dns

import (
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
)

// The truth table's questions, as the proxy answers them.
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	check(t, err)
	asked := 0
	for _, c := range cases {
		for _, r := range c.Requests {
			if r.Request.DNS == nil {
				continue
			}
			np := c.Node(r.Node)
			plain := r.Request
			plain.DNS = nil
			to := policy.Decide(np, plain)
			n := slices.IndexFunc(np.Classes, func(class policy.Class) bool { return class.ID == to.Class })
			if to.Verdict != policy.Redirected || n < 0 || np.Classes[n].Kind != policy.KindDNS {
				continue // no question reaches the proxy
			}
			asked++
			b := newBench(t, Config{}, func(q []byte) [][]byte { return [][]byte{reply(t, q)} })
			b.class = &np.Classes[n]
			got := b.ask(query(t, 1, policy.NormalizeName(r.Request.DNS.Name)+".", dnsmessage.TypeA, false))
			want := dnsmessage.RCodeSuccess
			if r.Want == policy.Denied {
				want = dnsmessage.RCodeRefused
			}
			if got == nil || code(t, got) != want || b.events[0].Verdict != r.Want || r.HasRule && b.events[0].Rule.Path != r.Rule {
				t.Errorf("%s: %s\n got %x, %+v", c.Name, r.Line, got, b.events)
			}
		}
	}
	if asked < 15 {
		t.Errorf("only %d questions", asked)
	}
}
