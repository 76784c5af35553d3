package bench

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// block is how many requests are made of one arm before the next has its turn.
const block = 25

// rounds are the samples of a paired measurement: for each arm, the median time of a request
// in each round's block.
type rounds struct {
	n    int
	arms map[string][]time.Duration
}

// paired runs a block of each arm in each round, in random order.
func (b *bench) paired(t *testing.T, what string, n int, arms []string, request func(a *arm, i int) error) rounds {
	t.Helper()
	out := rounds{n: n, arms: map[string][]time.Duration{}}
	times := make([]time.Duration, block)
	for range n {
		for _, i := range rand.Perm(len(arms)) {
			a := b.arms[arms[i]]
			for j := range times {
				begin := time.Now()
				if err := request(a, i); err != nil {
					t.Fatalf("%s: %v", a.name, err)
				}
				times[j] = time.Since(begin)
				if b.raw != nil {
					fmt.Fprintf(b.raw, "%s %s %d\n", what, a.name, times[j].Nanoseconds())
				}
			}
			out.arms[a.name] = append(out.arms[a.name], median(times))
		}
	}
	return out
}

// sameConnections is how many rounds are made with the same connections.
const sameConnections = 10

// append adds rounds of the same arms.
func (r *rounds) append(more rounds) {
	r.n += more.n
	for name, times := range more.arms {
		r.arms[name] = append(r.arms[name], times...)
	}
}

// ratio is the ratio of the medians of two arms.
func (r rounds) ratio(arm, to string) interval {
	return bootstrap(r.n, func(i []int) float64 {
		return float64(median(pick(r.arms[arm], i))) / float64(median(pick(r.arms[to], i)))
	})
}

// added is what an arm adds to direct, in microseconds.
func (r rounds) added(arm string) interval {
	return bootstrap(r.n, func(i []int) float64 { return r.addedIn(arm, i) / 1e3 })
}

// addedRatio is the ratio of what two arms add to direct.
func (r rounds) addedRatio(arm, to string) interval {
	return bootstrap(r.n, func(i []int) float64 { return r.addedIn(arm, i) / r.addedIn(to, i) })
}

// addedIn is the median of the differences to direct of the same round.
func (r rounds) addedIn(arm string, indexes []int) float64 {
	differences := make([]time.Duration, len(indexes))
	for i, n := range indexes {
		differences[i] = r.arms[arm][n] - r.arms["direct"][n]
	}
	return float64(median(differences))
}

// latency is one keep-alive connection to each arm at a time, 1 KiB bodies.
func (b *bench) latency(t *testing.T, n int) {
	arms := []string{"direct", "again", "l4", "http", "tree", "regex", "plain", "first", "list", "haproxy"}
	// Each connection stays with one of a proxy's workers: new ones give every arm its turn with both.
	r := rounds{arms: map[string][]time.Duration{}}
	for done := 0; done < n; done += sameConnections {
		var conns []*conn
		for _, name := range arms {
			conns = append(conns, b.connections(t, b.arms[name], 1)...)
		}
		request := func(_ *arm, i int) error { return conns[i].get() }
		b.paired(t, "warm-up", 1, arms, request)
		r.append(b.paired(t, "latency", min(sameConnections, n-done), arms, request))
		for i, name := range arms {
			closeAll(t, b.arms[name], conns[i:i+1])
		}
	}
	same := r.ratio("again", "direct")
	b.controls = append(b.controls, control{"direct beside itself", same, 2})
	b.add("1", "added latency ÷ plain Envoy's, p50", r.addedRatio("http", "plain"), "≤ 1.12", added(r, "http", "plain"))
	b.add("2", "added latency ÷ that of two Envoys, p50", r.addedRatio("http", "first"), "≤ 0.42", added(r, "first"))
	b.add("3", "latency ÷ direct, one connection, p50", r.ratio("http", "direct"), "≤ 4.5", "")
	b.add("10", "10,000 rules ÷ 1 rule (exact, prefix): latency, p50", r.ratio("tree", "http"), "≤ 1.02", added(r, "tree"))
	b.add("11", "1,000 regular expressions ÷ 1 rule: latency, p50", r.ratio("regex", "http"), "", added(r, "regex"))
	b.add("20", "a port that needs no layer 7 ÷ direct: latency, p50", r.ratio("l4", "direct"), "≤ 1.015", added(r, "l4"))
	b.add("", "a list of 1,000 rules in plain Envoy ÷ plain Envoy: added latency", r.addedRatio("list", "plain"), "", added(r, "list"))
	b.add("", "HAProxy with the same policy ÷ direct: latency, p50", r.ratio("haproxy", "direct"), "", added(r, "haproxy"))
	b.add("", "direct ÷ direct (A/A): latency, p50", same, "0.98–1.02", fmt.Sprintf("direct: %d µs", median(r.arms["direct"]).Microseconds()))
}

func added(r rounds, arms ...string) string {
	text := ""
	for _, name := range arms {
		if text != "" {
			text += ", "
		}
		text += fmt.Sprintf("%s +%.0f µs", name, r.added(name).value)
	}
	return text
}

// fresh is a connection for each request.
func (b *bench) fresh(t *testing.T, n int) {
	arms := []string{"direct", "http", "l4", "plain"}
	r := b.paired(t, "fresh", n, arms, func(a *arm, _ int) error {
		c, err := b.dial(a)
		if err != nil {
			return err
		}
		defer c.Close()
		return c.get()
	})
	b.add("7", "connect, request, close ÷ plain Envoy", r.ratio("http", "plain"), "≤ 1.1", fmt.Sprintf("÷ direct: %.2f", r.ratio("http", "direct").value))
	b.add("20", "connect, request, close on a port that needs no layer 7 ÷ direct", r.ratio("l4", "direct"), "", "")
}
