package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// podSpec is the pod of a workload.
func podSpec(t *testing.T, objects map[string]map[string]any, name string) map[string]any {
	t.Helper()
	spec, ok := at(objects[name], "spec", "template", "spec").(map[string]any)
	if !ok {
		t.Fatalf("%s is not rendered", name)
	}
	return spec
}

func containers(spec map[string]any) []map[string]any {
	var all []map[string]any
	for _, key := range []string{"initContainers", "containers"} {
		list, _ := spec[key].([]any)
		for _, c := range list {
			all = append(all, c.(map[string]any))
		}
	}
	return all
}

// TestCapabilities pins what each container may do in the kernel: a change here is a change of the threat model.
func TestCapabilities(t *testing.T) {
	objects := render(t)
	got := map[string]string{}
	for name := range objects {
		if _, ok := at(objects[name], "spec", "template", "spec").(map[string]any); !ok {
			continue
		}
		for _, c := range containers(podSpec(t, objects, name)) {
			caps := at(c, "securityContext", "capabilities")
			got[name+" "+c["name"].(string)] = fmt.Sprintf("user %v, drop %v, add %v, escalation %v, read-only root %v",
				at(c, "securityContext", "runAsUser"), at(caps, "drop"), at(caps, "add"),
				at(c, "securityContext", "allowPrivilegeEscalation"), at(c, "securityContext", "readOnlyRootFilesystem"))
		}
	}
	const enforcer = "user 0, drop [ALL], add [BPF NET_ADMIN PERFMON SYS_ADMIN], escalation false, read-only root true"
	const nothing = "user <nil>, drop [ALL], add <nil>, escalation false, read-only root true"
	want := map[string]string{
		"Deployment/septum-operator operator": nothing,
		"DaemonSet/septum-enforcer enforcer":  enforcer,
		"DaemonSet/septum-enforcer cni":       "user 0, drop [ALL], add <nil>, escalation false, read-only root true",
		"DaemonSet/septum-proxy launcher":     "user 0, drop [ALL], add [SETFCAP], escalation false, read-only root true",
		"DaemonSet/septum-proxy envoy":        "user 10077, drop [ALL], add [NET_RAW], escalation true, read-only root true",
		"DaemonSet/septum-cleanup cleanup":    enforcer,
		"DaemonSet/septum-cleanup hold":       "user 65532, drop [ALL], add <nil>, escalation false, read-only root true",
		"Job/septum-cleanup-begin uninstall":  nothing,
		"Job/septum-cleanup-end uninstall":    nothing,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("capabilities (-want +got):\n%s", diff)
	}
}

func TestPods(t *testing.T) {
	objects := render(t)
	for _, name := range []string{"DaemonSet/septum-enforcer", "DaemonSet/septum-proxy", "DaemonSet/septum-cleanup"} {
		if at(podSpec(t, objects, name), "automountServiceAccountToken") != false {
			t.Errorf("%s mounts a token for the API server; it has no rights there and needs none", name)
		}
	}
	for name := range objects {
		spec, ok := at(objects[name], "spec", "template", "spec").(map[string]any)
		if !ok {
			continue
		}
		if at(spec, "securityContext", "seccompProfile", "type") != "RuntimeDefault" {
			t.Errorf("%s has no seccomp profile RuntimeDefault", name)
		}
		if host, _ := at(spec, "hostNetwork").(bool); host && !strings.Contains(name, "enforcer") && !strings.Contains(name, "cleanup") {
			t.Errorf("%s is in the node's network", name)
		}
		if at(spec, "hostPID") != nil || at(spec, "hostIPC") != nil {
			t.Errorf("%s shares the node's processes", name)
		}
	}
	operator := at(podSpec(t, objects, "Deployment/septum-operator"), "securityContext")
	if at(operator, "runAsNonRoot") != true {
		t.Error("the operator may run as root")
	}
}

// TestEnforcerHasNoRights holds that no role is bound to the accounts on the nodes.
func TestEnforcerHasNoRights(t *testing.T) {
	for name, object := range render(t) {
		subjects, _ := object["subjects"].([]any)
		for _, s := range subjects {
			account := at(s, "name").(string)
			if account == "septum-enforcer" || account == "septum-proxy" {
				t.Errorf("%s gives rights to %s", name, account)
			}
		}
	}
}

// TestNoWildcards holds that every right is named.
func TestNoWildcards(t *testing.T) {
	for name, object := range render(t) {
		rules, _ := object["rules"].([]any)
		for _, rule := range rules {
			for _, key := range []string{"apiGroups", "resources", "verbs"} {
				values, _ := at(rule, key).([]any)
				if slices.Contains(values, any("*")) || len(values) == 0 {
					t.Errorf("%s: %s %v", name, key, values)
				}
			}
		}
	}
}

// TestCRDs holds that the chart's CRDs are those of config/crd, and that the values choose them.
func TestCRDs(t *testing.T) {
	for _, tt := range []struct{ source, value string }{
		{"../../config/crd/bases", "crds.install"},
		{"../../config/crd/cilium", "ciliumPolicies.installCRDs"},
	} {
		files, err := filepath.Glob(tt.source + "/*.yaml")
		if err != nil || len(files) == 0 {
			t.Fatalf("no CRDs in %s: %v", tt.source, err)
		}
		with, without := render(t), render(t, "--set", tt.value+"=false")
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := yaml.Unmarshal(data, &want); err != nil {
				t.Fatal(err)
			}
			name := "CustomResourceDefinition/" + at(want, "metadata", "name").(string)
			got := with[name]
			if !cmp.Equal(want["spec"], got["spec"]) {
				t.Errorf("%s of the chart is not that of %s: run \"make generate\"", name, file)
			}
			if at(got, "metadata", "annotations", "helm.sh/resource-policy") != "keep" {
				t.Errorf("%s would be deleted on uninstall, and every policy with it", name)
			}
			if _, ok := without[name]; ok {
				t.Errorf("%s is rendered with %s=false", name, tt.value)
			}
		}
	}
}

// TestAdmissionPolicies holds that the chart's admission policies are those of config/crd,
// and that each is there with the CRDs that it is about, unless it is not wanted.
func TestAdmissionPolicies(t *testing.T) {
	with, unwanted := render(t), render(t, "--set", "crds.admissionPolicies=false")
	for _, tt := range []struct{ file, value string }{
		{"septum-fields.yaml", "crds.install"},
		{"cilium-fields.yaml", "ciliumPolicies.installCRDs"},
		{"cilium-expressions.yaml", "ciliumPolicies.installCRDs"},
	} {
		data, err := os.ReadFile("../../config/crd/admission/" + tt.file)
		if err != nil {
			t.Fatal(err)
		}
		without := render(t, "--set", tt.value+"=false")
		for name, want := range objects(t, string(data)) {
			if got := with[name]; got == nil || !cmp.Equal(want["spec"], got["spec"]) {
				t.Errorf("%s of the chart is not that of %s: run \"make generate\"", name, tt.file)
			}
			if without[name] != nil || unwanted[name] != nil {
				t.Errorf("%s is rendered with %s=false or crds.admissionPolicies=false", name, tt.value)
			}
		}
	}
}
