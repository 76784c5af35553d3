package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// configDir says for the component of an object in which directory of config it stands.
// Hooks and CRDs are left out: without Helm nothing runs a hook, and config/crd has the CRDs
// and their admission policies.
func configDir(object map[string]any) string {
	if at(object, "metadata", "annotations", "helm.sh/hook") != nil || ofCRDs(object["kind"].(string)) {
		return ""
	}
	switch object["kind"] {
	case "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding":
		return "rbac"
	}
	component, _ := at(object, "metadata", "labels", "app.kubernetes.io/component").(string)
	if component == "operator" {
		return "manager"
	}
	return component
}

// TestConfig holds that config/{manager,rbac,enforcer,proxy} are the chart's objects; -update writes them.
func TestConfig(t *testing.T) {
	rendered := render(t)
	names := make([]string, 0, len(rendered))
	for name := range rendered {
		names = append(names, name)
	}
	slices.Sort(names)
	want := map[string]*bytes.Buffer{}
	for _, dir := range []string{"manager", "rbac", "enforcer", "proxy"} {
		want[dir] = bytes.NewBufferString("# Made from charts/septum: go test ./test/chart -update\n")
	}
	for _, name := range names {
		object := rendered[name]
		dir := configDir(object)
		if dir == "" {
			continue
		}
		if want[dir] == nil {
			t.Fatalf("%s belongs to no directory of config", name)
		}
		withoutHelm(object)
		data, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		want[dir].WriteString("---\n")
		want[dir].Write(data)
	}
	for dir, content := range want {
		file := filepath.Join("../../config", dir, dir+".yaml")
		if *update {
			if err := os.WriteFile(file, content.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(content.String(), string(got)); diff != "" {
			t.Errorf("%s is not what the chart renders; run \"go test ./test/chart -update\" (-want +got):\n%s", file, diff)
		}
	}
}

// TestKustomize holds that config/default builds, and has every object of the chart but its hooks.
func TestKustomize(t *testing.T) {
	out, err := tool(t, "KUBECTL", "kubectl", "kustomize", "../../config/default")
	if err != nil {
		t.Fatalf("kubectl kustomize: %v\n%s", err, out)
	}
	built := objects(t, out)
	want := []string{"Namespace/septum-system"}
	for name, object := range render(t, "--set", "ciliumPolicies.installCRDs=false") {
		if at(object, "metadata", "annotations", "helm.sh/hook") == nil {
			want = append(want, name)
		}
	}
	var got []string
	for name, object := range built {
		got = append(got, name)
		if namespace := at(object, "metadata", "namespace"); namespace != nil && namespace != "septum-system" {
			t.Errorf("%s is in namespace %v", name, namespace)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects (-chart +kustomize):\n%s", diff)
	}
}

// withoutHelm takes Helm's own labels away, in the object and in its pods.
func withoutHelm(object map[string]any) {
	for _, path := range [][]string{{"metadata", "labels"}, {"spec", "template", "metadata", "labels"}} {
		labels, ok := at(object, path...).(map[string]any)
		if !ok {
			continue
		}
		delete(labels, "helm.sh/chart")
		labels["app.kubernetes.io/managed-by"] = "kustomize"
	}
}
