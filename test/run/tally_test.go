package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestTally counts what "go test -json" printed for a few real situations.
func TestTally(t *testing.T) {
	const pkg = `"Package":"github.com/septum-dev/septum/policy"`
	for name, tt := range map[string]struct {
		lines []string
		want  string
		shown string
	}{
		"a test and a test with two subtests": {
			lines: []string{
				`{"Action":"pass",` + pkg + `,"Test":"TestA"}`,
				`{"Action":"pass",` + pkg + `,"Test":"TestB/one"}`,
				`{"Action":"pass",` + pkg + `,"Test":"TestB/two"}`,
				`{"Action":"pass",` + pkg + `,"Test":"TestB"}`,
				`{"Action":"pass",` + pkg + `}`,
			},
			want: "3 passed, 0 failed, 0 skipped",
		},
		"a failed subtest fails its parents but counts once": {
			lines: []string{
				`{"Action":"output",` + pkg + `,"Test":"TestB/two","Output":"    b_test.go:7: got 1\n"}`,
				`{"Action":"fail",` + pkg + `,"Test":"TestB/two"}`,
				`{"Action":"fail",` + pkg + `,"Test":"TestB"}`,
				`{"Action":"fail",` + pkg + `}`,
			},
			want: "0 passed, 1 failed, 0 skipped", shown: "got 1",
		},
		"a parent that fails by itself": {
			lines: []string{
				`{"Action":"pass",` + pkg + `,"Test":"TestB/two"}`,
				`{"Action":"fail",` + pkg + `,"Test":"TestB"}`,
				`{"Action":"fail",` + pkg + `}`,
			},
			want: "1 passed, 1 failed, 0 skipped",
		},
		"a package that does not build": {
			lines: []string{
				`{"ImportPath":"github.com/septum-dev/septum/policy","Action":"build-output","Output":"x.go:1: syntax error\n"}`,
				`{"ImportPath":"github.com/septum-dev/septum/policy","Action":"build-fail"}`,
				`{"Action":"fail",` + pkg + `,"FailedBuild":"github.com/septum-dev/septum/policy"}`,
			},
			want: "0 passed, 1 failed, 0 skipped", shown: "syntax error",
		},
		"a package that ends outside of a test": {
			lines: []string{
				`{"Action":"pass",` + pkg + `,"Test":"TestA"}`,
				`{"Action":"output",` + pkg + `,"Output":"panic: in TestMain\n"}`,
				`{"Action":"fail",` + pkg + `}`,
			},
			want: "1 passed, 1 failed, 0 skipped", shown: "panic: in TestMain",
		},
		"a skip": {
			lines: []string{
				`{"Action":"output",` + pkg + `,"Test":"TestA","Output":"    a_test.go:3: no TCX in this kernel\n"}`,
				`{"Action":"skip",` + pkg + `,"Test":"TestA"}`,
				`{"Action":"pass",` + pkg + `}`,
			},
			want: "0 passed, 0 failed, 1 skipped",
		},
		"a message of the go command": {
			lines: []string{`go: no such tool`},
			want:  "0 passed, 0 failed, 0 skipped", shown: "go: no such tool",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var shown strings.Builder
			tally := newTally("unit", func(s string) { shown.WriteString(s) })
			for _, line := range tt.lines {
				tally.line(line)
			}
			if got := tally.finish().String(); got != tt.want {
				t.Errorf("counted %q, want %q", got, tt.want)
			}
			if !strings.Contains(shown.String(), tt.shown) {
				t.Errorf("shown %q, want it to hold %q", shown.String(), tt.shown)
			}
		})
	}
}

// A test that has printed much is shown with its last lines only.
func TestLastLines(t *testing.T) {
	var long strings.Builder
	for i := range 165_000 {
		fmt.Fprintf(&long, "line %d\n", i)
	}
	got := lastLines(long.String())
	if n := strings.Count(got, "\n"); n != shownLines+1 || !strings.HasSuffix(got, "line 164999\n") || !strings.HasPrefix(got, "(164940 lines before") {
		t.Errorf("%d lines are shown: %q", n, got)
	}
	if got := lastLines("a\nb\n"); got != "a\nb\n" {
		t.Errorf("of two lines are shown %q", got)
	}
}

func TestSummary(t *testing.T) {
	for name, tt := range map[string]struct {
		results []outcome
		want    string
		ok      bool
	}{
		"all passed": {
			results: []outcome{{part: part{Name: "deps"}}, {part: part{Name: "unit"}, counts: counts{passed: 3}}, {part: part{Name: "lint"}, counts: counts{passed: 1}}},
			want:    "4 passed, 0 failed, 0 skipped\n", ok: true,
		},
		"skips are named": {
			results: []outcome{{part: part{Name: "kernel"}, counts: counts{passed: 1, skipped: 1, skips: []string{"bpf.TestTCX: no TCX in this kernel"}}}},
			want:    "SKIP bpf.TestTCX: no TCX in this kernel\n1 passed, 0 failed, 1 skipped\n", ok: true,
		},
		"what could not run has failed": {
			results: []outcome{{part: part{Name: "images"}, err: errors.New("exit status 2")}, {part: part{Name: "e2e"}, missing: "images"}},
			want:    "FAIL images: exit status 2\nFAIL e2e: not run, as images failed\n0 passed, 2 failed, 0 skipped\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if ok := summary(&out, tt.results); ok != tt.ok {
				t.Errorf("summary is %v, want %v", ok, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("printed (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScheduler(t *testing.T) {
	var out bytes.Buffer
	s := scheduler{logs: t.TempDir(), start: time.Now(), out: &out}
	results := s.run(t.Context(), []part{
		{Name: "lint", Counts: true, Command: []string{"false"}},
		{Name: "good", Command: []string{"echo", "hello"}, Needs: []string{"lint"}},
		{Name: "bad", Command: []string{"sh", "-c", "echo broken; exit 3"}},
		{Name: "after", Counts: true, Command: []string{"true"}, Needs: []string{"bad"}},
	})
	var got []string
	for _, r := range results {
		got = append(got, r.part.Name+" "+r.counts.String()+" missing="+r.missing)
	}
	want := []string{
		"lint 0 passed, 1 failed, 0 skipped missing=",
		"good 0 passed, 0 failed, 0 skipped missing=", // a failed test does not keep others from running
		"bad 0 passed, 0 failed, 0 skipped missing=",
		"after 0 passed, 0 failed, 0 skipped missing=bad",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	for _, text := range []string{"good: hello", "broken"} {
		if !strings.Contains(out.String(), text) {
			t.Errorf("output does not hold %q:\n%s", text, out.String())
		}
	}
}

func TestChoose(t *testing.T) {
	for name, tt := range map[string]struct {
		names []string
		want  string
	}{
		"what a part needs comes with it":    {[]string{"kernel"}, "deps envoy kafka prometheus resolvers musl kernel"},
		"tests that only come before do not": {[]string{"e2e"}, "deps binaries envoy kafka hubble images e2e"},
		"the order is that of the parts":     {[]string{"lint", "unit"}, "deps prometheus unit lint"},
	} {
		t.Run(name, func(t *testing.T) {
			chosen, err := choose(parts(), tt.names)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, p := range chosen {
				names = append(names, p.Name)
			}
			if got := strings.Join(names, " "); got != tt.want {
				t.Errorf("chose %q, want %q", got, tt.want)
			}
		})
	}
	if _, err := choose(parts(), []string{"nothing"}); err == nil {
		t.Error("an unknown part was accepted")
	}
}
