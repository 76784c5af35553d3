package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNamedTestsExist checks the tests that the page of promises names.
func TestNamedTestsExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/promises.md"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("git", "-C", root, "grep", "-hoE", "^func Test[A-Za-z0-9]+", "--", "*_test.go").Output()
	if err != nil {
		t.Fatalf("list the tests: %v", err)
	}
	there := map[string]bool{}
	for _, line := range strings.Split(string(out), "\n") {
		there[strings.TrimPrefix(line, "func ")] = true
	}
	named := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(named) < 40 {
		t.Fatalf("the page names only %d tests", len(named))
	}
	for _, m := range named {
		if !there[m[1]] {
			t.Errorf("docs/promises.md names %s, which is not there", m[1])
		}
	}
}
