package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDependenciesHaveReasons holds that docs/dependencies.md has a row for each direct requirement of go.mod, in its
// order, and no other.
func TestDependenciesHaveReasons(t *testing.T) {
	read := func(name, expression string) []string {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		var found []string
		for _, m := range regexp.MustCompile(expression).FindAllStringSubmatch(string(data), -1) {
			found = append(found, m[1])
		}
		return found
	}
	required := read("go.mod", `(?m)^(?:require )?\t?([a-z][\w.-]*\.[\w./-]+) v\S+$`)
	if len(required) < 20 {
		t.Fatalf("only %d requirements are found in go.mod", len(required))
	}
	if diff := cmp.Diff(required, read("docs/dependencies.md", "(?m)^\\| `([^`]+)` \\| \\S")); diff != "" {
		t.Errorf("docs/dependencies.md is not go.mod's direct requirements (-go.mod +page):\n%s", diff)
	}
}
