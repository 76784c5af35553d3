package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// counts are numbers of tests; a test with subtests counts as these, not as itself.
type counts struct {
	passed, failed, skipped int
	// failures and skips name the tests, with the reason of a skip.
	failures, skips []string
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

// event is a line of "go test -json".
type event struct {
	Action, Package, Test, Output, ImportPath string
}

// tally counts the events of one part and shows the output of tests that fail.
type tally struct {
	part string
	show func(string)
	// ended is the last action of each package and test, output what each has printed.
	ended  map[name]string
	output map[name]*strings.Builder
	build  map[string]*strings.Builder
}

type name struct{ pkg, test string }

func (n name) String() string {
	pkg := strings.TrimPrefix(n.pkg, "github.com/septum-dev/septum/")
	if n.test == "" {
		return pkg
	}
	return pkg + "." + n.test
}

func newTally(part string, show func(string)) *tally {
	return &tally{part: part, show: show, ended: map[name]string{}, output: map[name]*strings.Builder{}, build: map[string]*strings.Builder{}}
}

// line takes one line; what is not an event is shown, as it is a message of the go command.
func (t *tally) line(text string) {
	var e event
	if err := json.Unmarshal([]byte(text), &e); err != nil || e.Action == "" {
		t.show(t.part + ": " + text + "\n")
		return
	}
	n := name{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		write(t.build, e.ImportPath, e.Output)
	case "build-fail":
		if out := t.build[e.ImportPath]; out != nil {
			t.show("--- " + e.ImportPath + " does not build\n" + out.String())
		}
	case "output":
		write(t.output, n, e.Output)
	case "pass", "skip", "fail":
		t.ended[n] = e.Action
		if e.Action == "fail" && e.Test != "" {
			t.show("--- FAIL " + n.String() + "\n" + lastLines(t.text(n)))
		}
	}
}

// shownLines is how much is shown of what a test has printed: the logs of a whole node are in the
// part's log, with everything else.
const shownLines = 60

// lastLines are the last lines of a text, and how many there are before them.
func lastLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	if len(lines) <= shownLines {
		return text
	}
	left := len(lines) - shownLines
	return fmt.Sprintf("(%d lines before these are in the part's log)\n", left) + strings.Join(lines[left:], "")
}

func write[K comparable](to map[K]*strings.Builder, key K, text string) {
	if to[key] == nil {
		to[key] = &strings.Builder{}
	}
	to[key].WriteString(text)
}

func (t *tally) text(n name) string {
	if out := t.output[n]; out != nil {
		return out.String()
	}
	return ""
}

// progress is how far the part is.
func (t *tally) progress() string {
	c := t.count()
	return fmt.Sprintf("; %s", c)
}

// finish shows the output of packages that failed outside of any test, and counts.
func (t *tally) finish() counts {
	c := t.count()
	for _, n := range slices.SortedFunc(maps.Keys(t.ended), compare) {
		if n.test == "" && slices.Contains(c.failures, n.String()) {
			t.show("--- FAIL " + n.String() + "\n" + lastLines(t.text(n)))
		}
	}
	return c
}

func (t *tally) count() counts {
	var c counts
	parents, failedBelow := t.above()
	for _, n := range slices.SortedFunc(maps.Keys(t.ended), compare) {
		switch t.ended[n] {
		case "fail":
			if !failedBelow[n] {
				c.failed++
				c.failures = append(c.failures, n.String())
			}
		case "skip":
			// A package without tests "skips" too; packagesOf leaves those out.
			if n.test != "" && !parents[n] {
				c.skipped++
				c.skips = append(c.skips, n.String()+": "+reason(t.text(n)))
			}
		case "pass":
			if n.test != "" && !parents[n] {
				c.passed++
			}
		}
	}
	return c
}

// above are the tests that have subtests, and the tests and packages in which a test failed that counts itself.
func (t *tally) above() (parents, failedBelow map[name]bool) {
	parents, failedBelow = map[name]bool{}, map[name]bool{}
	for n, action := range t.ended {
		if n.test == "" {
			continue
		}
		if action == "fail" {
			failedBelow[name{pkg: n.pkg}] = true
		}
		for test := n.test; ; {
			i := strings.LastIndex(test, "/")
			if i < 0 {
				break
			}
			test = test[:i]
			parents[name{n.pkg, test}] = true
			if action == "fail" {
				failedBelow[name{n.pkg, test}] = true
			}
		}
	}
	return parents, failedBelow
}

func compare(a, b name) int {
	if c := strings.Compare(a.pkg, b.pkg); c != 0 {
		return c
	}
	return strings.Compare(a.test, b.test)
}

// reason is what a skipped test said last.
func reason(output string) string {
	said := "no reason given"
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = line
		}
	}
	return said
}

// summary prints what failed and what was skipped, and ends with the one line; it is true if nothing failed.
func summary(out io.Writer, results []outcome) bool {
	var total counts
	for _, r := range results {
		total.passed += r.counts.passed
		total.failed += r.counts.failed
		total.skipped += r.counts.skipped
		for _, f := range r.counts.failures {
			total.failures = append(total.failures, r.part.Name+": "+f)
		}
		total.skips = append(total.skips, r.counts.skips...)
		switch {
		case r.missing != "":
			total.failures = append(total.failures, r.part.Name+": not run, as "+r.missing+" failed")
		case r.err != nil:
			total.failures = append(total.failures, r.part.Name+": "+r.err.Error())
		}
		if !r.succeeded() && r.counts.failed == 0 {
			total.failed++
		}
	}
	for _, skip := range total.skips {
		fmt.Fprintln(out, "SKIP", skip)
	}
	for _, failure := range total.failures {
		fmt.Fprintln(out, "FAIL", failure)
	}
	fmt.Fprintln(out, total.String())
	return total.failed == 0
}
