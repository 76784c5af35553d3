package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/septum-dev/septum/test/docs/blocks"
)

// fenced are the blocks of the pages.
func fenced(t *testing.T) []blocks.Block {
	t.Helper()
	all, err := blocks.All(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 40 {
		t.Fatalf("only %d blocks", len(all))
	}
	return all
}

// TestBlocksAreTried holds that each fenced block says what it is, so that commands are run, sessions are compared and examples
// are applied (test/e2e/docs_test.go), and that the lists of exceptions hold nothing that is on no page.
func TestBlocksAreTried(t *testing.T) {
	languages := []string{"sh", "console", "yaml", "text", "promql"}
	command := regexp.MustCompile(`(?m)^\s*\$? ?(kubectl|helm|make|hubble|git|docker|kind|az|aws|gcloud) `)
	elsewhere, shown, sessions := blocks.Elsewhere(), blocks.Shown(), blocks.Sessions()
	changed := map[blocks.Change]bool{}
	for _, b := range fenced(t) {
		switch {
		case !slices.Contains(languages, b.Language):
			t.Errorf("%s: the fence says %q, not one of %v", b, b.Language, languages)
		case b.Language == "text":
			if blocks.Shown()[b.First()] == "" {
				t.Errorf("%s: no test is named that sees this text; commands are \"sh\"", b)
			}
			delete(shown, b.First())
		case b.Language == "console":
			if blocks.Sessions()[b.First()] == "" {
				t.Errorf("%s: no golden file is named that has this output", b)
			}
			delete(sessions, b.First())
		case b.Language != "sh" && command.MatchString(b.Text):
			t.Errorf("%s: commands in a block that says it is %s are not run", b, b.Language)
		}
		if b.Language != "sh" {
			continue
		}
		for _, c := range b.Commands() {
			delete(elsewhere, c)
			for _, change := range blocks.Changes() {
				if change.Page == b.Page && strings.Contains(c, change.Old) {
					changed[change] = true
				}
			}
		}
	}
	for name := range elsewhere {
		t.Errorf("%q is listed as run elsewhere, and on no page", name)
	}
	for name := range shown {
		t.Errorf("%q is listed as shown, and on no page", name)
	}
	for name := range sessions {
		t.Errorf("%q is listed as a session, and on no page", name)
	}
	for _, change := range blocks.Changes() {
		if !changed[change] {
			t.Errorf("the change of %q in %s changes nothing", change.Old, change.Page)
		}
	}
}

// TestSessionsAreTrue compares what the pages show of the plugin with the golden files of its tests.
func TestSessionsAreTrue(t *testing.T) {
	// Nodes' names stand in the golden file, and what a terminal must not get.
	aside := regexp.MustCompile(` \[node1\]|/\x{fffd}\[2J`)
	for _, b := range fenced(t) {
		if b.Language != "console" {
			continue
		}
		golden, err := os.ReadFile(filepath.Join(root, "cmd/kubectl-septum/testdata/output", blocks.Sessions()[b.First()]+".txt"))
		if err != nil {
			t.Error(err)
			continue
		}
		lines := strings.Split(aside.ReplaceAllString(string(golden), ""), "\n")
		for line := range strings.Lines(b.Text) {
			line = strings.TrimRight(line, "\n")
			if !strings.HasPrefix(line, "$ ") && !slices.Contains(lines, line) {
				t.Errorf("%s: the plugin does not say %q", b, line)
			}
		}
	}
}
