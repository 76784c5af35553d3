package envoy

import (
	"fmt"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// BenchmarkRules is one request on a kept connection by the number of rules in its class:
// exact and prefix rules are found in a map, so the time must stay the same. The rule that
// matches is the last.
func BenchmarkRules(b *testing.B) {
	e := startEnvoy(b, echo(b, hello))
	for _, n := range []int{1, 1000, 10000} {
		for _, kind := range []struct {
			name string
			rule func(i int) policy.StringMatch
		}{
			{"exact", func(i int) policy.StringMatch { return exact(fmt.Sprintf("/api/v1/resource-%d", i)) }},
			{"prefix", func(i int) policy.StringMatch { return prefix(fmt.Sprintf("/api/v1/resource-%d/", i)) }},
			{"regex", func(i int) policy.StringMatch { return regex(fmt.Sprintf("/api/v1/resource-%d/[a-z0-9]+", i)) }},
		} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, n), func(b *testing.B) {
				var rules []policy.HTTPRule
				for i := range n {
					rules = append(rules, policy.HTTPRule{Methods: matches(exact("GET")), Path: kind.rule(i)})
				}
				start := time.Now()
				addr := e.apply(b, classOf("c", rules...))["c"]
				applied := time.Since(start)
				path := fmt.Sprintf("/api/v1/resource-%d", n-1)
				if kind.name != "exact" {
					path += "/x"
				}
				c := dialHTTP(b, addr)
				defer c.conn.Close()
				for b.Loop() {
					if code := c.do(b, policy.HTTPRequest{Method: "GET", Path: path, Host: "h"}); code != 200 {
						b.Fatalf("got %d", code)
					}
				}
				b.ReportMetric(float64(applied.Milliseconds()), "ms-to-apply")
			})
		}
	}
}

// BenchmarkResources compiles a class of 10,000 rules.
func BenchmarkResources(b *testing.B) {
	var rules []policy.HTTPRule
	for i := range 10000 {
		rules = append(rules, policy.HTTPRule{Methods: matches(exact("GET")), Path: exact(fmt.Sprintf("/api/v1/resource-%d", i))})
	}
	np := policy.NodePolicy{Classes: []policy.Class{classOf("c", rules...)}}
	n := policy.Numbers{}.Assign(np)
	for b.Loop() {
		set, err := Resources(np, n)
		if err != nil {
			b.Fatal(err)
		}
		if set.Version() == "" {
			b.Fatal("no version")
		}
	}
}
