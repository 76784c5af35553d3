package ingest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/json"
	kjson "sigs.k8s.io/json"
)

// decode fills out, a pointer to an API type, from a decoded object, comparing keys by
// case. It returns the fields that the type does not know, sorted.
func decode(object map[string]any, out any) ([]string, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("encode the object: %w", err)
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(data, out); err != nil {
		return nil, fmt.Errorf("decode the object: %w", err)
	}
	var unknown []string
	unknownFields(object, reflect.TypeOf(out), "", &unknown)
	slices.Sort(unknown)
	return unknown, nil
}

// unknownFields adds the paths of v's keys that t has no field for. (The decoder's own
// strict mode stops counting at a hundred, and what it does not name would be opened.)
func unknownFields(v any, t reflect.Type, path string, out *[]string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch v := v.(type) {
	case map[string]any:
		if t.Kind() == reflect.Map {
			for key, child := range v {
				unknownFields(child, t.Elem(), join(path, key), out)
			}
			return
		}
		if t.Kind() != reflect.Struct {
			return
		}
		for key, child := range v {
			field, ok := fieldOf(t, key)
			if !ok {
				*out = append(*out, join(path, key))
				continue
			}
			unknownFields(child, field, join(path, key), out)
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return
		}
		for i, child := range v {
			unknownFields(child, t.Elem(), fmt.Sprintf("%s[%d]", path, i), out)
		}
	}
}

// fieldOf returns the type of the field that a key is decoded into.
func fieldOf(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && strings.Contains(options, "inline") {
			if inner, ok := fieldOf(f.Type, key); ok {
				return inner, true
			}
		}
		if name == key && name != "" && name != "-" {
			return f.Type, true
		}
	}
	return nil, false
}

// join adds a key to a path. A key that could be taken for a path of its own is quoted.
func join(path, key string) string {
	if strings.ContainsAny(key, ".[]") {
		return fmt.Sprintf("%s[%q]", path, key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// at is the path of an element of a list.
func at(path, list string, i int) string { return fmt.Sprintf("%s.%s[%d]", path, list, i) }
