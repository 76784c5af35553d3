package ingest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/septum-dev/septum/policy"
)

// TestUnknownKeyNeverOpens adds a key that the API does not know to every object in every
// policy of the goldens (SEMANTICS 31): nothing may be allowed that was not, nothing may
// be allowed that was denied, and there must be a problem that names the key.
func TestUnknownKeyNeverOpens(t *testing.T) {
	eachPolicy(t, func(t *testing.T, o Objects, u unstructured.Unstructured) {
		before, known := one(o, u)
		if slices.ContainsFunc(known, func(p policy.Problem) bool { return strings.Contains(p.Message, "cannot be read") }) {
			return // all of it is closed
		}
		each(u.Object, "", func(path string, node any, set func(any)) {
			fields, ok := node.(map[string]any)
			if !ok || !strings.HasPrefix(path, "spec") || strings.Contains(path, "matchLabels") {
				return
			}
			changed := maps.Clone(fields)
			changed["zzz"] = []any{}
			set(changed)
			defer set(node)
			after, problems := one(o, u)
			if !slices.ContainsFunc(problems, func(p policy.Problem) bool { return strings.HasSuffix(p.Path, ".zzz") }) {
				// Inside of l7 every key is known, and inside of an unknown field none is looked at.
				inside := slices.ContainsFunc(known, func(p policy.Problem) bool { return path == p.Path || below(path, p.Path) })
				if !inside && !strings.Contains(path, "rules.l7[") {
					t.Errorf("%s: an unknown key is not reported", path)
				}
			}
			opened(t, path, before, after)
		})
	})
}

// TestHostileValues puts values of every wrong kind in every place of every policy.
func TestHostileValues(t *testing.T) {
	eachPolicy(t, func(t *testing.T, o Objects, u unstructured.Unstructured) {
		each(u.Object, "", func(path string, node any, set func(any)) {
			defer set(node)
			for _, hostile := range []any{nil, int64(-1), int64(1 << 40), 1.5, true, "", "x", "(", "\x00\r\n", []any{}, map[string]any{}, []any{[]any{nil}}, []any{map[string]any{}}} {
				set(hostile)
				s, _ := Snapshot(Objects{Policies: []unstructured.Unstructured{u}, Services: o.Services})
				for _, p := range s.Policies {
					wellFormed(t, p)
				}
			}
		})
	})
}

// opened fails for what after allows and before does not, or denies no longer.
func opened(t *testing.T, path string, before, after *policy.Policy) {
	t.Helper()
	if len(after.Specs) != len(before.Specs) {
		t.Errorf("%s: %d specs are left of %d", path, len(after.Specs), len(before.Specs))
		return
	}
	for i := range after.Specs {
		for _, d := range []struct{ was, is policy.Section }{{before.Specs[i].Ingress, after.Specs[i].Ingress}, {before.Specs[i].Egress, after.Specs[i].Egress}} {
			if d.was.DefaultDeny && !d.is.DefaultDeny {
				t.Errorf("%s: default deny is gone", path)
			}
			for _, r := range d.is.Rules {
				if r.Action != policy.Deny && !allowedBefore(d.was.Rules, r) {
					t.Errorf("%s: %s allows what it did not", path, r.ID.Path)
				}
			}
			for _, r := range d.was.Rules {
				if r.Action == policy.Deny && !deniedAfter(d.is.Rules, r) {
					t.Errorf("%s: %s denies less", path, r.ID.Path)
				}
			}
		}
	}
}

func allowedBefore(was []policy.Rule, r policy.Rule) bool {
	for _, w := range was {
		if w.ID != r.ID {
			continue
		}
		http, ok := r.L7.(*policy.HTTP)
		old, oldOK := w.L7.(*policy.HTTP)
		w.L7, r.L7 = nil, nil
		if ok != oldOK || !cmp.Equal(w, r, cmp.Comparer(func(a, b policy.CIDR) bool { return fmt.Sprint(a) == fmt.Sprint(b) })) {
			return false
		}
		if !ok {
			return true
		}
		for _, h := range http.Rules {
			if h.Action == policy.Allow && !slices.ContainsFunc(old.Rules, func(o policy.HTTPRule) bool { return cmp.Equal(o, h) }) {
				return false
			}
		}
		for _, o := range old.Rules {
			if o.Action == policy.Deny && !slices.ContainsFunc(http.Rules, func(h policy.HTTPRule) bool { return h.ID == o.ID && h.Action == policy.Deny }) {
				return false
			}
		}
		return true
	}
	return false
}

func deniedAfter(is []policy.Rule, w policy.Rule) bool {
	return slices.ContainsFunc(is, func(r policy.Rule) bool {
		if r.Action != policy.Deny || r.ID.Path != w.ID.Path && !strings.HasPrefix(w.ID.Path, r.ID.Path+".") {
			return false
		}
		return (r.AnyPeer || peersText(r) == peersText(w)) && (len(r.Ports) == 0 || portsText(r.Ports) == portsText(w.Ports))
	})
}

func one(o Objects, u unstructured.Unstructured) (*policy.Policy, []policy.Problem) {
	c := converter{secrets: newSecrets(Objects{}), cluster: "default", services: servicesOf(o), keys: map[string]bool{}}
	return c.policy(&u)
}

// eachPolicy calls f with every policy of the goldens that is of a known kind.
func eachPolicy(t *testing.T, f func(*testing.T, Objects, unstructured.Unstructured)) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		o, err := objectsOf(txtar.Parse(data).Files[0].Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range o.Policies {
			if p, _ := one(o, u); p != nil {
				t.Run(filepath.Base(file)+"/"+u.GetKind()+"/"+u.GetName(), func(t *testing.T) { f(t, o, u) })
			}
		}
	}
}

// each calls f for every value below v, with a function that replaces it.
func each(v any, path string, f func(path string, node any, set func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for key, child := range v {
			f(join(path, key), child, func(n any) { v[key] = n })
			each(child, join(path, key), f)
		}
	case []any:
		for i, child := range v {
			f(indexed(path, i), child, func(n any) { v[i] = n })
			each(child, indexed(path, i), f)
		}
	}
}
