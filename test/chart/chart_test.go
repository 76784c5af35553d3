// Package chart tests the Helm chart with the real helm.
package chart

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "rewrite the golden renderings")

const chartDir = "../../charts/septum"

// helm runs helm: the one that HELM names, or the local cluster's.
func helm(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return tool(t, "HELM", "helm", args...)
}

// tool runs the program that a variable names, or the local cluster's of the same name.
func tool(t *testing.T, variable, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("../cluster/cluster", append([]string{name}, args...)...)
	if program := os.Getenv(variable); program != "" {
		cmd = exec.Command(program, args...)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if stdout.Len() == 0 && strings.Contains(stderr.String(), "No such file or directory") {
		t.Fatalf("there is no %s: run \"make binaries\", or set %s\n%s", name, variable, stderr.String())
	}
	return stdout.String() + stderr.String(), err
}

// render is the chart's objects by "Kind/name", with the given arguments.
func render(t *testing.T, args ...string) map[string]map[string]any {
	t.Helper()
	out, err := helm(t, append([]string{"template", "septum", chartDir, "--namespace", "septum-system"}, args...)...)
	if err != nil {
		t.Fatalf("helm template: %v\n%s", err, out)
	}
	return objects(t, out)
}

func objects(t *testing.T, manifest string) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, doc := range regexp.MustCompile(`(?m)^---\s*$`).Split(manifest, -1) {
		var object map[string]any
		if err := yaml.Unmarshal([]byte(doc), &object); err != nil {
			t.Fatalf("the rendering is not YAML: %v\n%s", err, doc)
		}
		if len(object) == 0 {
			continue
		}
		name := object["kind"].(string) + "/" + at(object, "metadata", "name").(string)
		if _, ok := found[name]; ok {
			t.Errorf("%s is rendered twice", name)
		}
		found[name] = object
	}
	return found
}

// at is the value at a path of keys; nil where there is none.
func at(value any, path ...string) any {
	for _, key := range path {
		object, ok := value.(map[string]any)
		if !ok {
			return nil
		}
		value = object[key]
	}
	return value
}

func TestLint(t *testing.T) {
	if out, err := helm(t, "lint", "--strict", chartDir); err != nil {
		t.Errorf("helm lint --strict: %v\n%s", err, out)
	}
}

// TestGolden renders the chart for each file testdata/*.values.yaml; CRDs and their
// admission policies are left out, they are compared with config/crd by TestCRDs and
// TestAdmissionPolicies.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".values.yaml"), func(t *testing.T) {
			rendered := render(t, "--values", file)
			var names []string
			for name := range rendered {
				if kind, _, _ := strings.Cut(name, "/"); !ofCRDs(kind) {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			var got bytes.Buffer
			for _, name := range names {
				out, err := yaml.Marshal(rendered[name])
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(out)
			}
			golden := strings.TrimSuffix(file, ".values.yaml") + ".golden.yaml"
			if *update {
				if err := os.WriteFile(golden, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("rendering changed; if that is meant, run with -update (-want +got):\n%s", diff)
			}
		})
	}
}

// ofCRDs says whether a kind is a CRD or belongs to CRDs, and so is made from config/crd.
func ofCRDs(kind string) bool {
	return slices.Contains([]string{"CustomResourceDefinition", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}, kind)
}

func TestSchemaRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		set  string
		want string
	}{
		"unknown key at the top":     {"enforcr.logLevel=debug", "additional properties 'enforcr' not allowed"},
		"unknown key of a part":      {"operator.replica=2", "additional properties 'replica' not allowed"},
		"unknown key of an image":    {"proxy.image.name=envoy", "additional properties 'name' not allowed"},
		"no replicas":                {"operator.replicas=0", "/operator/replicas"},
		"unknown log level":          {"enforcer.logLevel=loud", "/enforcer/logLevel"},
		"digest without its hash":    {"operator.image.digest=abc", "/operator/image/digest"},
		"a class above the system's": {"priorityClasses[0].name=a,priorityClasses[0].value=2000000000", "/priorityClasses/0/value"},
		"relative path":              {"paths.cgroup=sys/fs/cgroup", "/paths/cgroup"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := helm(t, "template", "septum", chartDir, "--set", tt.set)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("--set %s: %v, want a refusal that says %q:\n%s", tt.set, err, tt.want, out)
			}
		})
	}
}

// TestValuesAreCommented holds that each value but the members of a documented map has a comment above it.
func TestValuesAreCommented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`^\s*[A-Za-z]+: *\S`)
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if !key.MatchString(line) || i == 0 {
			continue
		}
		above := strings.TrimSpace(lines[i-1])
		indent := len(line) - len(strings.TrimLeft(line, " "))
		covered := strings.HasPrefix(above, "#")
		// A value below another of the same comment: the members of one map, or a pair such as labels and annotations.
		for j := i - 1; j > 0 && !covered && strings.TrimSpace(lines[j]) != ""; j-- {
			trimmed := strings.TrimLeft(lines[j], " ")
			if strings.HasPrefix(trimmed, "#") {
				covered = true
			}
			if len(lines[j])-len(trimmed) > indent {
				break
			}
		}
		if !covered {
			t.Errorf("values.yaml:%d: no comment above %q", i+1, strings.TrimSpace(line))
		}
	}
}
