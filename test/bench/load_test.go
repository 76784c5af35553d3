package bench

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// clients is how many connections a closed loop has.
const clients = 16

// load is what came of a closed loop: requests a second, and CPU seconds a request of Envoy
// and of the enforcer (which reads the access log).
type load struct{ rate, envoy, enforcer float64 }

// closedLoop asks as fast as the answers come.
func (b *bench) closedLoop(t *testing.T, a *arm, d time.Duration, refused bool) load {
	t.Helper()
	conns := b.connections(t, a, clients)
	envoy, enforcer := b.envoyOf(a), b.process(t, "bin/septum-enforcer")
	envoyBefore, enforcerBefore := cpu(t, envoy), cpu(t, enforcer)
	counts := make([]int, clients)
	errs := make([]error, clients)
	begin := time.Now()
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			for time.Since(begin) < d && errs[i] == nil {
				if refused {
					errs[i] = c.refused(a)
				} else {
					errs[i] = c.get()
				}
				counts[i]++
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(begin)
	time.Sleep(150 * time.Millisecond) // the last of the access log
	total := 0.0
	for i := range conns {
		if errs[i] != nil {
			t.Fatalf("%s: %v", a.name, errs[i])
		}
		total += float64(counts[i])
	}
	out := load{rate: total / elapsed.Seconds(), envoy: (cpu(t, envoy) - envoyBefore) / total, enforcer: (cpu(t, enforcer) - enforcerBefore) / total}
	closeAll(t, a, conns)
	return out
}

// rates compares closed loops, in random order in each run.
func (b *bench) rates(t *testing.T, runs int, d time.Duration) {
	type job struct {
		key, arm string
		refused  bool
	}
	jobs := []job{{"direct", "direct", false}, {"l4", "l4", false}, {"http", "http", false}, {"plain", "plain", false}, {"denied", "http", true}, {"haproxy", "haproxy", false}}
	got := map[string][]load{}
	for range runs {
		for _, i := range rand.Perm(len(jobs)) {
			j := jobs[i]
			got[j.key] = append(got[j.key], b.closedLoop(t, b.arms[j.arm], d, j.refused))
		}
	}
	ratio := func(x, y string, value func(load) float64) interval {
		return bootstrap(runs, func(indexes []int) float64 {
			all := make([]float64, 0, runs)
			for _, n := range indexes {
				all = append(all, value(got[x][n])/value(got[y][n]))
			}
			return median(all)
		})
	}
	rate := func(l load) float64 { return l.rate }
	envoy := func(l load) float64 { return l.envoy }
	all := func(l load) float64 { return l.envoy + l.enforcer }
	b.add("4", "request rate: direct ÷ policed, 16 connections", ratio("direct", "http", rate), "≤ 4",
		fmt.Sprintf("plain Envoy %.2f, HAProxy %.2f", ratio("direct", "plain", rate).value, ratio("direct", "haproxy", rate).value))
	b.add("5", "Envoy's CPU for a request ÷ plain Envoy's", ratio("http", "plain", envoy), "≤ 1.10",
		fmt.Sprintf("with the enforcer's: %.2f", ratio("http", "plain", all).value))
	b.add("8", "Envoy's CPU for a denied request ÷ an allowed one", ratio("denied", "http", envoy), "≤ 0.45", "")
	b.add("20", "request rate: direct ÷ a port that needs no layer 7", ratio("direct", "l4", rate), "≤ 1.015", "")
}

// bulk is one stream of a large file.
func (b *bench) bulk(t *testing.T, runs int) {
	arms := []string{"direct", "http", "l4", "plain"}
	times := rounds{n: runs, arms: map[string][]time.Duration{}}
	for range runs {
		for _, i := range rand.Perm(len(arms)) {
			a := b.arms[arms[i]]
			c := b.connections(t, a, 1)
			begin := time.Now()
			status, length, err := c[0].ask(get("/bulk"))
			times.arms[a.name] = append(times.arms[a.name], time.Since(begin))
			if err != nil || status != 200 || length != bulkSize {
				t.Fatalf("%s: status %d, %d bytes, %v", a.name, status, length, err)
			}
			closeAll(t, a, c)
		}
	}
	b.add("9", "bulk throughput of one stream ÷ direct", times.ratio("direct", "http"), "≥ 0.7",
		fmt.Sprintf("plain Envoy %.2f", times.ratio("direct", "plain").value))
}

// openLoop asks at a fixed rate; a request's time is counted from when it should have been
// sent, so that a proxy that stalls cannot hide it by holding the client back.
func (b *bench) openLoop(t *testing.T, a *arm, rate int, d time.Duration) []time.Duration {
	t.Helper()
	conns := b.connections(t, a, 4*clients)
	due := make(chan time.Time, rate*int(d/time.Second+1))
	times := make([][]time.Duration, len(conns))
	errs := make([]error, len(conns))
	var wg sync.WaitGroup
	for i, c := range conns {
		wg.Go(func() {
			for at := range due {
				if errs[i] = c.get(); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(at))
			}
		})
	}
	begin := time.Now()
	for n := range int(d.Seconds() * float64(rate)) {
		at := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
		if wait := time.Until(at); wait > 0 {
			time.Sleep(wait)
			at = time.Now() // the timer's own lateness is not the proxy's
		}
		due <- at
	}
	close(due)
	wg.Wait()
	var all []time.Duration
	for i := range conns {
		must(t, errs[i])
		all = append(all, times[i]...)
	}
	closeAll(t, a, conns)
	return all
}

// fixed compares the arms at fixed rates.
func (b *bench) fixed(t *testing.T, runs int, d time.Duration) {
	arms := []string{"direct", "http", "plain"}
	for _, rate := range []int{1000, 3000} {
		at := map[float64]map[string][]float64{0.5: {}, 0.99: {}}
		for range runs {
			for _, i := range rand.Perm(len(arms)) {
				times := b.openLoop(t, b.arms[arms[i]], rate, d)
				for q := range at {
					at[q][arms[i]] = append(at[q][arms[i]], float64(quantile(times, q).Nanoseconds())/1e6)
				}
			}
		}
		added := func(q float64, name string) interval {
			return bootstrap(runs, func(indexes []int) float64 {
				var all []float64
				for _, n := range indexes {
					all = append(all, at[q][name][n]-at[q]["direct"][n])
				}
				return median(all)
			})
		}
		direct := median(at[0.99]["direct"])
		note := fmt.Sprintf("plain Envoy +%.2f ms; direct %.2f ms", added(0.99, "plain").value, direct)
		if direct > 0.15 {
			note += ": the machine is not quiet enough for this row"
		}
		b.add("6", fmt.Sprintf("added p99 at %d requests/s, ms", rate), added(0.99, "http"), map[int]string{1000: "≤ 0.7", 3000: "≤ 1"}[rate], note)
	}
}
