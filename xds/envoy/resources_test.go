package envoy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
)

//nolint:gochecknoglobals // a test flag
var update = flag.Bool("update", false, "rewrite the expected files in testdata")

// TestResources compiles each testdata file's policy.yaml and compares what comes out with
// the file's other parts: those that are there are those that it is about.
func TestResources(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no testdata: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var np policy.NodePolicy
			if err := yaml.UnmarshalStrict(part(t, archive, "policy.yaml"), &np); err != nil {
				t.Fatal(err)
			}
			set, err := Resources(np, policy.Numbers{}.Assign(np))
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{
				"clusters.yaml":  toYAML(t, set.Clusters),
				"listeners.yaml": toYAML(t, set.Listeners),
				"routes.yaml":    toYAML(t, set.Routes),
			}
			for i, f := range archive.Files {
				if f.Name == "policy.yaml" {
					continue
				}
				if *update {
					archive.Files[i].Data = []byte(got[f.Name])
				} else if diff := cmp.Diff(string(f.Data), got[f.Name]); diff != "" {
					t.Errorf("%s (-want +got; -update rewrites):\n%s", f.Name, diff)
				}
			}
			if *update {
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func part(t *testing.T, archive *txtar.Archive, name string) []byte {
	t.Helper()
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no %s", name)
	}
	return archive.Files[i].Data
}

func toYAML[T proto.Message](t *testing.T, messages []T) string {
	t.Helper()
	var b strings.Builder
	for _, m := range messages {
		js, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		text, err := yaml.JSONToYAML(js)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "---\n%s", text)
	}
	return b.String()
}

// TestResourcesRefuses: a class that cannot have a listener of its own is an error.
func TestResourcesRefuses(t *testing.T) {
	np := policy.NodePolicy{Classes: []policy.Class{classOf("a"), classOf("b")}}
	for _, tt := range []struct {
		name    string
		numbers map[policy.ClassID]uint16
		want    string
	}{
		{"no port", map[policy.ClassID]uint16{"a": 33000}, `class "b" has no port`},
		{"one port for two", map[policy.ClassID]uint16{"a": 33000, "b": 33000}, `class "b" has port 33000, which is "a"'s`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := Resources(np, policy.Numbers{Classes: tt.numbers})
			if err == nil || err.Error() != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if len(set.Listeners) != 1 || len(set.Routes) != 1 {
				t.Errorf("got %d listeners, %d routes; want those of class a", len(set.Listeners), len(set.Routes))
			}
		})
	}
}

// TestVersion: equal policies have equal versions, in whatever order they come.
func TestVersion(t *testing.T) {
	a := classOf("a", policy.HTTPRule{Path: exact("/1")}, policy.HTTPRule{Path: exact("/2")}, policy.HTTPRule{Path: prefix("/3")})
	b := classOf("b", policy.HTTPRule{Path: exact("/1")})
	n := policy.Numbers{}.Assign(policy.NodePolicy{Classes: []policy.Class{a, b}})
	version := func(classes ...policy.Class) string {
		set, err := Resources(policy.NodePolicy{Classes: classes}, n)
		if err != nil {
			t.Fatal(err)
		}
		return set.Version()
	}
	want := version(a, b)
	for range 20 {
		if got := version(b, a); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	a.HTTP[0].Path = exact("/other")
	if version(a, b) == want {
		t.Error("another policy has the same version")
	}
}

func TestRuleNames(t *testing.T) {
	for _, id := range []policy.RuleID{
		ruleID("spec.ingress[0].toPorts[1].rules.http[2]"),
		{Policy: policy.Ref{Kind: "ClusterL7NetworkPolicy", Name: "a/b %"}, Path: "x", Name: "my/rule é"},
	} {
		if got, ok := decodeRule(encodeRule(id)); !ok || got != id {
			t.Errorf("got %+v, %v; want %+v", got, ok, id)
		}
	}
	for _, name := range []string{"", defaultDeny, badPathDeny, "a/b/c/d", "%zz/b/c/d/e"} {
		if got, ok := decodeRule(name); ok {
			t.Errorf("%q is read as %+v", name, got)
		}
	}
}

func TestLiterals(t *testing.T) {
	for _, tt := range []struct {
		expr string
		want []literal
	}{
		{"/public", []literal{{"/public", endText}}},
		{"^/public$", []literal{{"/public", endText}}},
		{"/public/.*", []literal{{"/public/", endAny}}},
		{"/public/.*$", []literal{{"/public/", endAny}}},
		{"/public/.*?", []literal{{"/public/", endAny}}},
		{"/public/.+", []literal{{"/public/", endMore}}},
		{"/public/?", []literal{{"/public/", endText}, {"/public", endText}}},
		{"GET|POST", []literal{{"GET", endText}, {"POST", endText}}},
		{"/(a|b)/.*", []literal{{"/a/", endAny}, {"/b/", endAny}}},
		{"/a.*/b", []literal{{"/a", endMore}}},
		{"/a.*.*", []literal{{"/a", endAny}}},
		{"/v[12]/x", []literal{{"/v1/x", endText}, {"/v2/x", endText}}},
		{"/a[0-9]+", []literal{{"/a", endMore}}},
		{"(?i)/a", []literal{{"", endMore}}},
		{"/a(?i:b)", []literal{{"/a", endMore}}},
		{".*", []literal{{"", endAny}}},
		{"", []literal{{"", endText}}},
		{"/a$b", []literal{{"/a", endMore}}},
		{"/a{2}", []literal{{"/", endMore}}},
		{"(", []literal{{"", endMore}}},
	} {
		got := literals(tt.expr)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.expr, got, tt.want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"/a", "/a"},
		{"a\x1b[31m\r\n\x00\u009b", "a?[31m????"},
		{"\xff", "?"},
		{"é", "é"},
		{strings.Repeat("é", 2000), strings.Repeat("é", 512)},
		{"a" + strings.Repeat("é", 2000), "a" + strings.Repeat("é", 511)},
		{strings.Repeat("\x80", 2000), strings.Repeat("?", 1020)},
	} {
		if got := cut(tt.in); got != tt.want {
			t.Errorf("cut(%.20q) = %.40q, want %.40q", tt.in, got, tt.want)
		}
	}
}

// A kernel without IPv6 would refuse the second socket, and Envoy the class with it.
func TestIPv4Only(t *testing.T) {
	np := policy.NodePolicy{Classes: []policy.Class{classOf("c", policy.HTTPRule{})}}
	both, err := Resources(np, policy.Numbers{}.Assign(np))
	if err != nil {
		t.Fatal(err)
	}
	one := both.IPv4Only()
	if n := len(one.Listeners[0].AdditionalAddresses); n != 0 {
		t.Errorf("%d more addresses", n)
	}
	if n := len(both.Listeners[0].AdditionalAddresses); n != 1 {
		t.Errorf("%d more addresses in the set that it was made from", n)
	}
	if one.Version() == both.Version() {
		t.Error("the two sets have one version")
	}
}
