package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// actionlint checks workflow files, with the version of test/actions/go.mod.
func actionlint(t *testing.T, files ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "actionlint", "-no-color", "-shellcheck=", "-pyflakes="}, files...)...)
	cmd.Dir = filepath.Join(root, "test/actions")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestWorkflows(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, ".github/workflows/*.yml"))
	if err != nil || len(files) < 2 {
		t.Fatalf("only %d workflows (%v)", len(files), err)
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, goal := range regexp.MustCompile(`(?m)^\s*(?:- run: )?make ([a-z-]+)`).FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(makefile), "\n"+goal[1]+": ") {
				t.Errorf("%s runs \"make %s\", which is no goal", name, goal[1])
			}
		}
		if !regexp.MustCompile(`(?m)^permissions: \{contents: read\}$`).Match(text) {
			t.Errorf("%s does not begin with the least of rights", name)
		}
		if files[i], err = filepath.Abs(name); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := actionlint(t, files...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	wrong := filepath.Join(t.TempDir(), "wrong.yml")
	if err := os.WriteFile(wrong, []byte("on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    steps:\n    - run: echo ${{ needs.b.outputs.c }}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := actionlint(t, wrong); err == nil || !strings.Contains(out, `property "b" is not defined`) {
		t.Errorf("a wrong workflow is taken (%v): %s", err, out)
	}
}
