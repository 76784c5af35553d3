package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// object is a kind of object in a policy: the keys that it may have, and the objects below it.
type object struct {
	known    []string
	children []child
}

// child is the objects that a property holds: one, or a list of them.
type child struct {
	property string
	list     bool
	object   object
}

// parts are the same checks in pieces: of the keys of c itself, and of the objects below each
// of its properties, those in pieces again down to a depth.
func (c child) parts(depth int) []child {
	if depth == 0 || len(c.object.children) == 0 {
		return []child{c}
	}
	out := []child{{c.property, c.list, object{known: c.object.known}}}
	for _, below := range c.object.children {
		for _, part := range below.parts(depth - 1) {
			out = append(out, child{c.property, c.list, object{children: []child{part}}})
		}
	}
	return out
}

// objectOf reads a schema with properties. Objects with free keys, such as labels, are none:
// their keys are values.
func objectOf(schema map[string]any) (object, error) {
	properties := schema["properties"].(map[string]any)
	out := object{known: slices.Sorted(maps.Keys(properties))}
	for _, name := range out.known {
		below := properties[name].(map[string]any)
		c := child{property: name}
		if items, ok := below["items"].(map[string]any); ok {
			below, c.list = items, true
		}
		if _, ok := below["properties"]; !ok {
			if err := freeKeys(below); err != nil {
				return object{}, fmt.Errorf("%s: %w", name, err)
			}
			continue
		}
		var err error
		if c.object, err = objectOf(below); err != nil {
			return object{}, fmt.Errorf("%s: %w", name, err)
		}
		out.children = append(out.children, c)
	}
	return out, nil
}

// freeKeys refuses what no expression is made for: objects below free keys or in lists of lists.
func freeKeys(schema map[string]any) error {
	for _, key := range []string{"additionalProperties", "items"} {
		below, ok := schema[key].(map[string]any)
		if ok && (below["properties"] != nil || below["items"] != nil || below["additionalProperties"] != nil) {
			return fmt.Errorf("no check is made for the objects in its %s", key)
		}
	}
	return nil
}

// onlyKnown is an expression: x has no key but the known ones.
func onlyKnown(x string, known []string) string {
	return fmt.Sprintf("%s.all(k, k in ['%s'])", value(x), strings.Join(known, "', '"))
}

// unknown is an expression: a key of x, as text, that is not known.
func unknown(x string, known []string) string {
	return fmt.Sprintf("%s.filter(k, !(k in ['%s']))[0]", x, strings.Join(known, "', '"))
}

// element names the list elements of a depth in expressions.
func element(depth int) string { return fmt.Sprintf("o%d", depth) }

// good is an expression: x and all objects below it have only known keys. x is an optional
// value if its last part is (o1.?rules). Everything is looked at once, as the price of an
// expression is limited. It does without && and ||: the API server searches for what they
// skip among all that it has evaluated before, which takes seconds with thousands of rules.
func (o object) good(x string, depth int) string {
	var all []string
	if len(o.known) > 0 {
		all = append(all, onlyKnown(x, o.known))
	}
	for _, c := range o.children {
		all = append(all, c.good(x, depth))
	}
	if len(all) == 1 {
		return all[0]
	}
	return "!(false in [" + strings.Join(all, ", ") + "])"
}

func (c child) good(parent string, depth int) string {
	x := parent + ".?" + c.property
	if !c.list {
		return c.object.good(x, depth)
	}
	each := element(depth + 1)
	return fmt.Sprintf("%s.all(%s, %s)", value(x), each, c.object.good(each, depth+1))
}

// value is an expression for x, or for an empty list where x is an optional value without one.
func value(x string) string {
	if strings.Contains(x[strings.LastIndex(x, ".")+1:], "?") {
		return x + ".orValue([])"
	}
	return x
}

// first is an expression: the path of an unknown key of x, or below it; there is one. at is
// an expression for the path of x.
func (o object) first(x, at string, depth int) string {
	var out string
	if len(o.known) > 0 {
		out = fmt.Sprintf("%s + '.' + %s", at, unknown(x, o.known))
	}
	for i := len(o.children) - 1; i >= 0; i-- {
		c := o.children[i]
		if out == "" {
			out = c.first(x, at, depth)
			continue
		}
		out = fmt.Sprintf("(!(%s) ? %s : %s)", c.good(x, depth), c.first(x, at, depth), out)
	}
	return out
}

// first of a list: CEL has no name for a value but that of a list's element, and no number
// of an element but the place of its equal.
func (c child) first(parent, at string, depth int) string {
	x := parent + "." + c.property
	if !c.list {
		return c.object.first(x, fmt.Sprintf("%s + '.%s'", at, c.property), depth)
	}
	each := element(depth + 1)
	at = fmt.Sprintf("%s + '.%s[' + string(%s.indexOf(%s)) + ']'", at, c.property, x, each)
	return fmt.Sprintf("[%s.filter(%s, !(%s))[0]].map(%s, %s)[0]",
		x, each, c.object.good(each, depth+1), each, c.object.first(each, at, depth+1))
}

// path says for a person what a part checks, such as spec.ingress[].toPorts[].
func (c child) path(parent string) string {
	out := parent + "." + c.property
	if c.list {
		out += "[]"
	}
	if len(c.object.known) == 0 {
		return c.object.children[0].path(out)
	}
	return out
}
