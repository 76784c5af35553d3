package main

// patchSchema adds the conditions that belong to a schema, known by its properties.
func patchSchema(schema map[string]any) int {
	switch {
	case has(schema, "http", "kafka", "dns", "l7proto", "l7"):
		schema["not"] = l7Mixed()
	case has(schema, "ports", "rules", "serverNames"):
		schema["anyOf"] = l7NeedsTCP()
	default:
		return 0
	}
	return 1
}

// l7Mixed is rules of two kinds, or what a parser matches without the parser.
func l7Mixed() map[string]any {
	kinds := []string{"http", "kafka", "dns", "l7proto"}
	var mixed []any
	for i, kind := range kinds {
		for _, other := range kinds[i+1:] {
			mixed = append(mixed, required(kind, other))
		}
	}
	alone := required("l7")
	alone["not"] = required("l7proto")
	return map[string]any{"anyOf": append(mixed, alone)}
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
