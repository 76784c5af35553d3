package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestErrorsAreExplained holds that docs/troubleshooting.md names each reason of a condition, each problem of a node and
// each error that a program logs.
func TestErrorsAreExplained(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []struct {
		what  string
		dirs  []string
		found *regexp.Regexp
		least int
	}{
		{"reason of a condition", []string{"api/v1alpha1"}, regexp.MustCompile(`\bReason\w+ += "(\w+)"`), 15},
		{"problem of a node", []string{"enforcer"}, regexp.MustCompile(`\b(?:outcome|problem)\("([A-Z]\w+)",`), 10},
		{"problem of a node", []string{"enforcer"}, regexp.MustCompile(`(?m)^(?:const |\t)reason\w+ += "([A-Z]\w+)"`), 8},
		{"logged error", []string{"cmd", "controllers", "enforcer", "relay", "xds"}, regexp.MustCompile(`\b[lL]og\.Error\((?:[^",]+, )?"([^"]+)"`), 20},
		{"logged warning", []string{"cmd", "enforcer"}, regexp.MustCompile(`\b[lL]og\.Warn\("([^"]+)"`), 3},
		{"logged error", []string{"controllers"}, regexp.MustCompile(`\bretry\(\w+, [\w.]+, "([^"]+)"`), 2},
	} {
		seen := map[string]bool{}
		for _, name := range sources(t, kind.dirs...) {
			data, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range kind.found.FindAllStringSubmatch(string(data), -1) {
				seen[m[1]] = true
				if !strings.Contains(string(text), "`"+m[1]+"`") {
					t.Errorf("docs/troubleshooting.md does not explain the %s %q of %s", kind.what, m[1], name)
				}
			}
		}
		if len(seen) < kind.least {
			t.Errorf("only %d of %q are found: the expression of this test is wrong", len(seen), kind.what)
		}
	}
}

// sources are the tracked Go files of directories that are no tests.
func sources(t *testing.T, dirs ...string) []string {
	t.Helper()
	out, err := exec.Command("git", append([]string{"-C", root, "ls-files", "--"}, dirs...)...).Output()
	if err != nil {
		t.Fatalf("list the sources: %v", err)
	}
	var files []string
	for _, name := range strings.Fields(string(out)) {
		if strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") {
			files = append(files, name)
		}
	}
	return files
}
