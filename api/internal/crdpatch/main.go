// Command crdpatch adds to the generated CRDs what no marker can say: that unknown keys are
// kept at every level of a policy, and, for cilium.io, unions and conditions that must hold
// however long the lists are (CEL has a cost budget, which the lists of Cilium's policies,
// having no limits, exceed). From the CRDs it makes the admission policies that refuse the
// unknown keys, by name.
//
// In: a directory of CRDs as controller-gen writes them, and the file for their admission
// policies. Out: the same CRDs, changed in place, and that file; running it twice changes
// nothing.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: crdpatch <directory> <file for the admission policies>")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "crdpatch:", err)
		os.Exit(1)
	}
}

func run(dir, admissionFile string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list CRDs: %w", err)
	}
	policies := []byte(notice)
	for _, file := range files {
		policy, err := patchFile(file)
		if err != nil {
			return fmt.Errorf("patch %s: %w", file, err)
		}
		policies = append(policies, policy...)
	}
	if len(policies) == len(notice) {
		return fmt.Errorf("no CRDs of policies in %s", dir)
	}
	return os.WriteFile(admissionFile, policies, 0o644)
}

// patchFile changes the CRD in a file and returns its admission policy. The CRD of anything
// but a policy, which has no spec, is left as it is.
func patchFile(file string) ([]byte, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var typed apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &typed); err != nil {
		return nil, fmt.Errorf("not a CRD: %w", err)
	}
	// The file is written from the plain object: the type would add an empty status.
	var crd map[string]any
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return nil, err
	}
	schema, err := versionsSchema(crd)
	if err != nil {
		return nil, err
	}
	if _, _, err := rootAndSpec(schema); err != nil {
		return nil, nil
	}
	keepUnknown(schema)
	if typed.Spec.Group == "cilium.io" && strings.HasSuffix(typed.Spec.Names.Kind, "Policy") {
		patched := 0
		walk(schema, func(schema map[string]any) { patched += patchSchema(schema) })
		if patched == 0 {
			return nil, fmt.Errorf("nothing to patch: have the types been renamed?")
		}
	}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, append([]byte("---\n"), out...), 0o644); err != nil {
		return nil, err
	}
	return admission(typed, schema)
}

// versionsSchema returns the schema that all versions of a CRD have, and makes them share
// it, so that what is changed in it is changed in all.
func versionsSchema(crd map[string]any) (map[string]any, error) {
	spec, _ := crd["spec"].(map[string]any)
	versions, _ := spec["versions"].([]any)
	var schema map[string]any
	for _, v := range versions {
		version, _ := v.(map[string]any)
		validation, _ := version["schema"].(map[string]any)
		one, ok := validation["openAPIV3Schema"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("no schema in version %v", version["name"])
		}
		if schema == nil {
			schema = one
		}
		if !reflect.DeepEqual(schema["properties"], one["properties"]) {
			return nil, fmt.Errorf("version %v differs from another", version["name"])
		}
		validation["openAPIV3Schema"] = schema
	}
	if schema == nil {
		return nil, fmt.Errorf("no versions")
	}
	return schema, nil
}

// keepUnknown keeps unknown keys of the object itself and of its spec and specs, at every
// level. Without it the API server drops them before anybody can see that they were there.
func keepUnknown(schema map[string]any) {
	keep := func(schema map[string]any) { schema["x-kubernetes-preserve-unknown-fields"] = true }
	keep(schema)
	properties := schema["properties"].(map[string]any)
	for _, name := range []string{"spec", "specs"} {
		walk(properties[name], keep)
	}
}

// walk calls visit on every object below v that has properties, v first.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok && v["type"] == "object" {
			visit(v)
		}
		for _, child := range v {
			walk(child, visit)
		}
	case []any:
		for _, child := range v {
			walk(child, visit)
		}
	}
}
