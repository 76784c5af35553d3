// Package docs tests that what the documentation points at is there.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

// pages are the tracked Markdown files, by their path from the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out, err := exec.Command("git", "-C", root, "ls-files", "*.md").Output()
	if err != nil {
		t.Fatalf("list the pages: %v", err)
	}
	found := map[string]string{}
	for _, name := range strings.Fields(string(out)) {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		found[name] = string(data)
	}
	if len(found) < 5 {
		t.Fatalf("only %d pages", len(found))
	}
	return found
}

func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			}
		}
	}
}

// TestNamedFilesExist checks the paths of the repository that stand in the text.
func TestNamedFilesExist(t *testing.T) {
	named := regexp.MustCompile("(?m)(?:^|[\\s`(])((?:api|bpf|charts|cmd|config|docs|enforcer|hack|policy|test|xds)/[A-Za-z0-9_./-]*[A-Za-z0-9_])")
	for name, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}

func TestNamedGoalsExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	goal := regexp.MustCompile("(?m)(?:^|`)make ([a-z][a-z-]*)")
	count := 0
	for name, text := range pages(t) {
		for _, m := range goal.FindAllStringSubmatch(text, -1) {
			count++
			if !strings.Contains(string(makefile), "\n"+m[1]+": ") {
				t.Errorf("%s says \"make %s\", which is no goal", name, m[1])
			}
		}
	}
	if count == 0 {
		t.Error("the pages name no goal: the expression of this test is wrong")
	}
}

// TestValuesExist checks that each value that a page sets is one of the chart's.
func TestValuesExist(t *testing.T) {
	values, err := os.ReadFile(filepath.Join(root, "charts/septum/values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set := regexp.MustCompile(`--set ([A-Za-z.]+)=|,([a-z]+\.[A-Za-z.]+)=`)
	for name, text := range pages(t) {
		for _, m := range set.FindAllStringSubmatch(text, -1) {
			path := strings.Split(m[1]+m[2], ".")
			if key := path[len(path)-1]; !strings.Contains(string(values), " "+key+":") {
				t.Errorf("%s sets %s, which is no value of the chart", name, strings.Join(path, "."))
			}
		}
	}
}
