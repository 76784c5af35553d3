package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSamplePolicySays holds that the policy of README.md, and the samples in both APIs, mean what the pages say of them.
func TestSamplePolicySays(t *testing.T) {
	policies := map[string]string{}
	for _, b := range fenced(t) {
		if b.Page == "README.md" && b.Language == "yaml" {
			policies[b.String()] = b.Text
		}
	}
	if len(policies) == 0 {
		t.Error("README.md has no policy")
	}
	for _, sample := range []string{"allow-get-data.yaml", "allow-get-data-native.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "config/samples", sample))
		if err != nil {
			t.Fatal(err)
		}
		policies[sample] = string(text)
	}
	program := filepath.Join(t.TempDir(), "kubectl-septum")
	if out, err := exec.Command("go", "build", "-o", program, "../../cmd/kubectl-septum").CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	for name, text := range policies {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(program, "test", "-f", file, "-f", "testdata").CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
