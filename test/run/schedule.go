package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// scheduler runs parts as soon as what they need is done.
type scheduler struct {
	logs  string
	start time.Time

	mu  sync.Mutex
	out io.Writer
}

// outcome is a part that has ended.
type outcome struct {
	part   part
	counts counts
	// err is why the part failed, where no single test says it.
	err error
	// missing is the part that had to succeed before; this one did not run then.
	missing string
	took    time.Duration
}

// succeeded says whether a part that needs this one may run. A failed test stops
// nothing but what needs what it makes.
func (o outcome) succeeded() bool {
	return o.err == nil && o.missing == ""
}

// run runs the parts and returns their outcomes in the parts' order.
func (s *scheduler) run(ctx context.Context, parts []part) []outcome {
	outcomes := make([]outcome, len(parts))
	done := map[string]chan struct{}{}
	index := map[string]int{}
	for i, p := range parts {
		done[p.Name], index[p.Name] = make(chan struct{}), i
	}
	// One part at a time in the foreground, so that on two cores one is left for the background.
	foreground := make(chan struct{}, 1)
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() {
			defer close(done[p.Name])
			outcomes[i] = outcome{part: p}
			for _, need := range p.Needs {
				wait, ok := done[need]
				if !ok {
					continue // not chosen
				}
				<-wait
				if before := outcomes[index[need]]; !before.succeeded() && !isTest(parts, need) {
					outcomes[i].missing = need
					s.printf("%s: not run, as %s failed", p.Name, need)
					return
				}
			}
			if !p.Background {
				foreground <- struct{}{}
				defer func() { <-foreground }()
			}
			outcomes[i] = s.runPart(ctx, p)
		})
	}
	wg.Wait()
	return outcomes
}

func (s *scheduler) runPart(ctx context.Context, p part) outcome {
	s.printf("%s: begins (%s)", p.Name, p.About)
	start := time.Now()
	result := outcome{part: p}
	result.counts, result.err = s.execute(ctx, p)
	result.took = time.Since(start)
	words := []string{fmt.Sprintf("%.0f s", result.took.Seconds())}
	if len(p.Packages) > 0 {
		words = append(words, result.counts.String())
	}
	if result.err != nil {
		words = append(words, result.err.Error())
	}
	s.printf("%s: done (%s)", p.Name, strings.Join(words, "; "))
	return result
}

func (s *scheduler) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(s.out, "[%4.0f s] %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

// show prints lines as they are, kept together.
func (s *scheduler) show(lines string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprint(s.out, lines)
}
