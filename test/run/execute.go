package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// silence is how long a part may say nothing before a line tells that it still runs.
const silence = 30 * time.Second

// execute runs a part's command; its whole output goes to the part's log.
func (s *scheduler) execute(ctx context.Context, p part) (counts, error) {
	log, err := os.Create(filepath.Join(s.logs, p.Name+".log"))
	if err != nil {
		return counts{}, err
	}
	defer log.Close()
	if len(p.Packages) == 0 {
		return s.executeCommand(ctx, p, log)
	}
	packages, err := packagesOf(ctx, p)
	if err != nil {
		return counts{}, err
	}
	args := append(append([]string{"test", "-json", "-tags=" + p.Tags}, p.Flags...), packages...)
	tally := newTally(p.Name, s.show)
	err = s.stream(ctx, p, append([]string{"go"}, args...), func(line string) {
		fmt.Fprintln(log, line)
		tally.line(line)
	}, tally.progress)
	got := tally.finish()
	switch {
	case got.failed > 0:
		return got, nil // the tests say it
	case err != nil:
		return got, fmt.Errorf("go test: %w; see %s", err, log.Name())
	case got.passed == 0:
		return got, errors.New("no test ran")
	}
	return got, nil
}

func (s *scheduler) executeCommand(ctx context.Context, p part, log io.Writer) (counts, error) {
	var last []string
	err := s.stream(ctx, p, p.Command, func(line string) {
		fmt.Fprintln(log, line)
		last = append(last, line)
		if len(last) > 40 {
			last = last[1:]
		}
		if !p.Counts && line != "" {
			s.printf("%s: %s", p.Name, line)
		}
	}, func() string { return "" })
	var got counts
	if p.Counts {
		got.passed = 1
	}
	if err != nil {
		if p.Counts {
			got = counts{failed: 1}
		}
		s.show(fmt.Sprintf("--- %s failed; its last lines:\n%s\n", p.Name, strings.Join(last, "\n")))
		err = fmt.Errorf("%s: %w", strings.Join(p.Command, " "), err)
	}
	return got, err
}

// stream runs a command and hands over its lines.
func (s *scheduler) stream(ctx context.Context, p part, command []string, line func(string), progress func() string) error {
	if p.Background {
		command = append([]string{"nice", "-n", "10"}, command...)
	}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	// A group of its own: an interrupt ends the command with all that it started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 30 * time.Second
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		err := cmd.Wait()
		_ = w.Close()
		ended <- err
	}()
	lines := make(chan string)
	go func() {
		defer close(lines)
		reader := bufio.NewReader(r)
		for {
			text, err := reader.ReadString('\n')
			if text != "" {
				lines <- strings.TrimRight(text, "\n")
			}
			if err != nil {
				return
			}
		}
	}()
	tick := time.NewTicker(silence)
	defer tick.Stop()
	begin := time.Now()
	for {
		select {
		case text, ok := <-lines:
			if !ok {
				return <-ended
			}
			line(text)
		case <-tick.C:
			s.printf("%s: runs for %.0f s%s", p.Name, time.Since(begin).Seconds(), progress())
		}
	}
}

// packagesOf are the packages of a part that have tests.
func packagesOf(ctx context.Context, p part) ([]string, error) {
	wanted, err := goList(ctx, p.Tags, p.Packages)
	if err != nil {
		return nil, err
	}
	except, err := goList(ctx, p.Tags, p.Except)
	if err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(wanted, func(name string) bool { return slices.Contains(except, name) })
	if len(found) == 0 {
		return nil, fmt.Errorf("no package with tests in %s", strings.Join(p.Packages, " "))
	}
	return found, nil
}

func goList(ctx context.Context, tags string, patterns []string) ([]string, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	const withTests = "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}"
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-e", "-tags=" + tags, "-f", withTests}, patterns...)...)
	var messages bytes.Buffer
	cmd.Stderr = &messages
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w\n%s", strings.Join(patterns, " "), err, messages.String())
	}
	return strings.Fields(string(out)), nil
}
