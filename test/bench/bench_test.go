package bench

import (
	"flag"
	"os"
	"testing"
	"time"
)

var (
	full   = flag.Bool("full", false, "measure, and not only try")
	update = flag.Bool("update", false, "write the figures to docs/performance.md")
	raw    = flag.String("raw", "", "a file for each sample of the latencies, in nanoseconds")
)

// size is how much is measured.
type size struct {
	classes, rounds, runs int
	loop, fixed           time.Duration
}

func TestDataPath(t *testing.T) {
	n := size{classes: 10, rounds: 3, runs: 1, loop: 200 * time.Millisecond, fixed: time.Second}
	if *full {
		n = size{classes: 200, rounds: 300, runs: 7, loop: 2 * time.Second, fixed: 5 * time.Second}
	}
	b := newBench(t, n.classes)
	if *raw != "" {
		f, err := os.Create(*raw)
		must(t, err)
		defer f.Close()
		b.raw = f
	}
	b.latency(t, n.rounds)
	b.fresh(t, n.rounds)
	b.rates(t, n.runs, n.loop)
	b.bulk(t, n.runs)
	b.fixed(t, n.runs, n.fixed)
	table := b.table()
	t.Logf("\n%s", table)
	if *update {
		write(t, "data path", table)
	}
}
