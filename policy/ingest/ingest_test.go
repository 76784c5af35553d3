package ingest

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
)

var update = flag.Bool("update", false, "rewrite the expected summaries")

// TestSnapshot runs testdata/*.txtar: in each, "objects.yaml" is what the cluster holds,
// and "want" the summary of what comes out. The comment says which lines of the
// semantics a file is about.
func TestSnapshot(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var objects, want []byte
			for _, f := range archive.Files {
				switch f.Name {
				case "objects.yaml":
					objects = f.Data
				case "want":
					want = f.Data
				}
			}
			o, err := objectsOf(objects)
			if err != nil {
				t.Fatal(err)
			}
			got := summary(Snapshot(o))
			if again := summary(Snapshot(reversed(o))); again != got {
				t.Errorf("the order of the objects changes the result:\n%s", cmp.Diff(got, again))
			}
			if *update {
				archive.Files = []txtar.File{{Name: "objects.yaml", Data: objects}, {Name: "want", Data: []byte(got)}}
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// objectsOf reads a stream of YAML documents.
func objectsOf(data []byte) (Objects, error) {
	var o Objects
	for i, doc := range bytes.Split(data, []byte("\n---\n")) {
		if len(bytes.TrimSpace(doc)) == 0 {
			continue
		}
		var head struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal(doc, &head); err != nil {
			return o, fmt.Errorf("document %d: %w", i, err)
		}
		var err error
		switch head.Kind {
		case "Pod":
			err = addTo(&o.Pods, doc)
		case "Namespace":
			err = addTo(&o.Namespaces, doc)
		case "Node":
			err = addTo(&o.Nodes, doc)
		case "Service":
			err = addTo(&o.Services, doc)
		case "EndpointSlice":
			err = addTo(&o.EndpointSlices, doc)
		case "CiliumCIDRGroup":
			var u unstructured.Unstructured
			if err = yaml.Unmarshal(doc, &u.Object); err == nil {
				o.CIDRGroups = append(o.CIDRGroups, u)
			}
		default:
			var u unstructured.Unstructured
			if err = yaml.Unmarshal(doc, &u.Object); err == nil {
				o.Policies = append(o.Policies, u)
			}
		}
		if err != nil {
			return o, fmt.Errorf("document %d: %w", i, err)
		}
	}
	return o, nil
}

func addTo[T corev1.Pod | corev1.Namespace | corev1.Node | corev1.Service | discoveryv1.EndpointSlice](list *[]T, doc []byte) error {
	var object T
	if err := yaml.UnmarshalStrict(doc, &object); err != nil {
		return err
	}
	*list = append(*list, object)
	return nil
}

func reversed(o Objects) Objects {
	return Objects{Cluster: o.Cluster, Policies: reverse(o.Policies), CIDRGroups: reverse(o.CIDRGroups), Pods: reverse(o.Pods), Namespaces: reverse(o.Namespaces),
		Nodes: reverse(o.Nodes), Services: reverse(o.Services), EndpointSlices: reverse(o.EndpointSlices)}
}

func reverse[T any](in []T) []T {
	out := make([]T, 0, len(in))
	for i := len(in) - 1; i >= 0; i-- {
		out = append(out, in[i])
	}
	return out
}

// TestMatches: an expression becomes a look-up only where it means the same.
func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		text string
		on   subject
		want string
	}{
		{"/data", onPath, "=/data"},
		{"^/data$", onPath, "=/data"},
		{"(/data)", onPath, "=/data"},
		{`/a\.b`, onPath, "=/a.b"},
		{"/a.b", onPath, "~/a.b"},
		{"/public/.*", onPath, "prefix /public/"},
		{"^/public/.*$", onPath, "prefix /public/"},
		{"/public/.+", onPath, "~/public/.+"},
		{"/(a|b)", onPath, "~/(a|b)"},
		{"(?i)/data", onPath, "~(?i)/data"},
		{".*", onPath, ""},
		{"", onPath, ""},
		{"GET|POST|PUT", onMethod, "=GET =POST =PUT"},
		{"(GET|HEAD)", onMethod, "=GET =HEAD"},
		{"P(OS|U)T", onMethod, "=POST =PUT"},
		{"GET.*", onMethod, "~GET.*"},
		{"(?i)get", onMethod, "~(?i)get"},
		{`Api\.Example\.com`, onHost, "=api.example.com"},
		{`[A-Z]+\.example\.com`, onHost, `~(?i:[A-Z]+\.example\.com)`},
		{`[a-c]\.x`, onHost, "=a.x =b.x =c.x"},
		{"/a^b", onPath, "~/a^b"},
		{"a|^b", onMethod, "~a|^b"},
		{"/data(", onPath, "error is no RE2 expression: error parsing regexp: missing closing ): `/data(`"},
		{"(?=x)", onPath, "error is no RE2 expression: error parsing regexp: invalid or unsupported Perl syntax: `(?=`"},
		{`(\pL{1,100}){10}`, onPath, "error the expression is too large for the proxy: about"},
		{`/\pL+\p{Lu}\P{^Greek}`, onPath, `~/\pL+\p{Lu}\P{^Greek}`},
		{`/\p{Letter}+`, onPath, `error the class Letter is not one that every RE2 knows; use a category such as \p{L} or \p{Lu}, or list the characters`},
		{`/\\\p{lu}`, onPath, `error the class lu is not one that every RE2 knows; use a category such as \p{L} or \p{Lu}, or list the characters`},
		{`/\\px`, onPath, `=/\px`},
		{strings.Repeat("a", 5000), onPath, "error the expression has 5000 bytes; at most 4096 are allowed"},
	} {
		matches, err := matchesOf(tc.text, tc.on)
		parts := make([]string, len(matches))
		for i, m := range matches {
			parts[i] = matchText(m)
		}
		got := strings.Join(parts, " ")
		if err != nil {
			got = "error " + err.Error()
		}
		if tooLarge := strings.HasSuffix(tc.want, "about") && strings.HasPrefix(got, tc.want); got != tc.want && !tooLarge {
			t.Errorf("%q: got %q, want %q", tc.text, got, tc.want)
		}
	}
}

// TestIdentityCollision: two label sets with one number get two.
func TestIdentityCollision(t *testing.T) {
	l := &labeler{sets: map[string]*labelSet{}}
	for i := range 3 {
		text := fmt.Sprintf("set %d", i)
		l.sets[text] = &labelSet{text: text, labels: policy.Labels{"k8s:n": text}}
	}
	seen := map[policy.Identity]bool{}
	for _, il := range l.number() {
		if seen[il.Identity] || il.Identity < policy.FirstClusterIdentity || il.Identity >= policy.FirstCIDRIdentity {
			t.Errorf("identity %d is given twice or out of range", il.Identity)
		}
		seen[il.Identity] = true
	}
}
