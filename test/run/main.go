// Command run runs the repository's tests and ends with one line: "N passed, N failed, N skipped".
//
//	go run ./test/run            everything, independent parts side by side
//	go run ./test/run unit kernel  only these parts, and what they need
//	go run ./test/run -list      the parts
//
// In: the parts of parts.go. Out: progress, the output of what failed, what was skipped and why,
// and build/test/<part>.log with everything. A part that runs no test has failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ok, err := run()
	if err != nil {
		fmt.Fprintln(os.Stderr, "run:", err)
		os.Exit(2)
	}
	if !ok {
		os.Exit(1)
	}
}

func run() (bool, error) {
	list := flag.Bool("list", false, "print the parts and exit")
	logs := flag.String("logs", "build/test", "directory for the parts' whole output")
	flag.Parse()

	all := parts()
	if *list {
		for _, p := range all {
			fmt.Printf("%-10s %s\n", p.Name, p.About)
		}
		return true, nil
	}
	chosen, err := choose(all, flag.Args())
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(*logs, 0o755); err != nil {
		return false, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	s := scheduler{logs: *logs, start: time.Now(), out: os.Stdout}
	results := s.run(ctx, chosen)
	if ctx.Err() != nil {
		return false, fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return summary(os.Stdout, results), nil
}
