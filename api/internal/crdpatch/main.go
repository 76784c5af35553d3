// Command crdpatch adds to the generated CRDs of cilium.io what no marker can say: unions
// that count unknown keys, and conditions that must hold however long the lists are (CEL
// has a cost budget, which the lists of Cilium's policies, having no limits, exceed).
//
// In: a directory of CRDs as controller-gen writes them. Out: the same files, changed in
// place; running it twice changes nothing.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdpatch <directory>")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdpatch:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return fmt.Errorf("list CRDs: %w", err)
	}
	if len(files) == 0 {
		return fmt.Errorf("no CRDs in %s", dir)
	}
	for _, file := range files {
		if err := patchFile(file); err != nil {
			return fmt.Errorf("patch %s: %w", file, err)
		}
	}
	return nil
}

func patchFile(file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var typed apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &typed); err != nil {
		return fmt.Errorf("not a CRD: %w", err)
	}
	// The file is written from the plain object: the type would add an empty status.
	var crd map[string]any
	if err := yaml.Unmarshal(data, &crd); err != nil {
		return err
	}
	patched := 0
	walk(crd, func(schema map[string]any) { patched += patchSchema(schema) })
	if patched == 0 {
		return fmt.Errorf("nothing to patch: have the types been renamed?")
	}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), out...), 0o644)
}

// walk calls visit on every object below v that has properties, v first.
func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["properties"].(map[string]any); ok {
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

// patchSchema adds the conditions that belong to a schema, known by its properties.
func patchSchema(schema map[string]any) int {
	switch {
	case has(schema, "http", "kafka", "dns", "l7proto", "l7"):
		schema["oneOf"] = l7Union()
	case has(schema, "ports", "rules", "serverNames"):
		schema["anyOf"] = l7NeedsTCP()
	default:
		return 0
	}
	return 1
}

// l7Union allows one kind of rules, or none. A key that the API does not know, kept by
// x-kubernetes-preserve-unknown-fields, makes every branch fail: it is refused whoever
// sends it, strictly or not.
func l7Union() []any {
	only := func(names ...string) map[string]any {
		s := required(names...)
		s["maxProperties"] = len(names)
		return s
	}
	return []any{
		only("http"), only("kafka"), only("dns"), only("l7proto"), only("l7proto", "l7"),
		map[string]any{"maxProperties": 0},
	}
}

// l7NeedsTCP demands TCP, said explicitly, and a port other than 0 for all L7 rules but DNS.
func l7NeedsTCP() []any {
	emptyHTTP := required("http")
	emptyHTTP["properties"] = map[string]any{"http": map[string]any{"maxItems": 0}}
	port := required("port", "protocol")
	port["properties"] = map[string]any{
		"protocol": map[string]any{"enum": []any{"TCP"}},
		"port":     map[string]any{"pattern": "[1-9a-zA-Z]"},
	}
	tcp := required("ports")
	tcp["properties"] = map[string]any{"ports": map[string]any{"minItems": 1, "items": port}}
	return []any{
		tcp,
		map[string]any{"not": required("rules")},
		map[string]any{"properties": map[string]any{"rules": map[string]any{"not": map[string]any{
			"anyOf": []any{required("http"), required("kafka"), required("l7proto")},
		}}}},
		map[string]any{"properties": map[string]any{"rules": emptyHTTP}},
	}
}

func required(names ...string) map[string]any {
	list := make([]any, len(names))
	for i, name := range names {
		list[i] = name
	}
	return map[string]any{"required": list}
}

func has(schema map[string]any, names ...string) bool {
	properties := schema["properties"].(map[string]any)
	for _, name := range names {
		if property, ok := properties[name].(map[string]any); !ok || property["type"] == nil {
			return false
		}
	}
	return true
}
