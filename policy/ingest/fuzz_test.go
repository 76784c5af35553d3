package ingest

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy"
)

// FuzzSnapshot reads hostile policies. Whatever they say, what comes out must be well
// formed, the same each time, and about the policy's own namespace only.
func FuzzSnapshot(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, doc := range bytes.Split(archive.Files[0].Data, []byte("\n---\n")) {
			if text, err := yaml.YAMLToJSON(doc); err == nil {
				f.Add(text)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var object map[string]any
		if json.Unmarshal(data, &object) != nil || object == nil {
			return
		}
		takeHostile(t, object)
	})
}

// takeHostile reads one object, whatever it is, and compiles what it says.
func takeHostile(t *testing.T, object map[string]any) policy.Snapshot {
	t.Helper()
	u := unstructured.Unstructured{Object: object}
	pod := corev1.Pod{}
	pod.Namespace, pod.Name, pod.Status.PodIP, pod.Spec.NodeName = "demo", "p", "10.0.0.1", "n"
	node := corev1.Node{}
	node.Name = "n"
	o := Objects{Policies: []unstructured.Unstructured{u}, Pods: []corev1.Pod{pod}, Nodes: []corev1.Node{node}}
	snapshot, problems := Snapshot(o)
	if again, more := Snapshot(o); summary(again, more) != summary(snapshot, problems) {
		t.Fatal("the same object gives two results")
	}
	for _, p := range snapshot.Policies {
		wellFormed(t, p)
	}
	if len(snapshot.Policies) == 0 && len(problems) == 0 {
		t.Fatal("the policy is gone without a word")
	}
	policy.Compile(snapshot)
	return snapshot
}

func wellFormed(t *testing.T, p policy.Policy) {
	for _, spec := range p.Specs {
		own := policy.Requirement{Key: policy.LabelNamespace, Operator: policy.In, Values: []string{p.Ref.Namespace}}
		if p.Ref.Namespace != "" && !slices.ContainsFunc(spec.Subject.Requirements, func(r policy.Requirement) bool {
			return r.Key == own.Key && r.Operator == own.Operator && slices.Equal(r.Values, own.Values)
		}) {
			t.Fatalf("the subject %s leaves its namespace", selectorText(spec.Subject))
		}
		for _, r := range append(slices.Clone(spec.Ingress.Rules), spec.Egress.Rules...) {
			if r.Action == policy.Deny && r.L7 != nil {
				t.Fatalf("%s: a deny rule with an L7 part", r.ID.Path)
			}
			if !r.AnyPeer && len(r.Peers) == 0 {
				t.Fatalf("%s: a rule about nobody", r.ID.Path)
			}
			for _, peer := range r.Peers {
				wellFormedPeer(t, r.ID.Path, peer)
			}
			for _, port := range r.Ports {
				if port.EndPort != 0 && port.EndPort < port.Port || port.Name != "" && port.Port != 0 {
					t.Fatalf("%s: port %+v", r.ID.Path, port)
				}
			}
			http, ok := r.L7.(*policy.HTTP)
			if !ok {
				continue
			}
			if len(http.Rules) == 0 || len(r.Ports) == 0 {
				t.Fatalf("%s: HTTP with %d rules on %d ports", r.ID.Path, len(http.Rules), len(r.Ports))
			}
			for _, port := range r.Ports {
				if port.Protocol != policy.ProtocolTCP || port.Port == 0 && port.Name == "" {
					t.Fatalf("%s: HTTP on port %+v", r.ID.Path, port)
				}
			}
			for _, h := range http.Rules {
				matches := append(slices.Concat(h.Methods, h.Hosts), h.Path)
				for _, header := range h.Headers {
					matches = append(matches, header.Value)
				}
				for _, m := range matches {
					if _, err := regexp.Compile(m.Value); m.Kind == policy.MatchRegex && err != nil {
						t.Fatalf("%s: %v", h.ID.Path, err)
					}
				}
			}
		}
	}
}

func wellFormedPeer(t *testing.T, path string, p policy.Peer) {
	set := 0
	for _, is := range []bool{p.Selector != nil, p.CIDR != nil, len(p.Services) > 0, p.Name != ""} {
		if is {
			set++
		}
	}
	if set != 1 {
		t.Fatalf("%s: a peer with %d kinds", path, set)
	}
	if p.CIDR == nil {
		return
	}
	if !p.CIDR.Prefix.IsValid() || slices.ContainsFunc(p.CIDR.Except, func(e netip.Prefix) bool { return !p.CIDR.Prefix.Overlaps(e) }) {
		t.Fatalf("%s: CIDR %+v", path, p.CIDR)
	}
}

// FuzzMatches compares what an expression becomes with the expression itself.
func FuzzMatches(f *testing.F) {
	for _, seed := range [][2]string{{"/data", "/data"}, {"^/a(b|c)?$", "/ab"}, {"GET|POST", "POST"}, {"/p/.*", "/p/x"}, {"[a-c]x", "bx"}, {"(?i)get", "GET"}, {`a\.b|`, ""}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expression, text string) {
		if bytes.ContainsAny([]byte(text), "\r\n") {
			return // no string that is compared has a line break
		}
		re, err := regexp.Compile("^(?:" + expression + ")$")
		if _, alone := regexp.Compile(expression); err != nil || alone != nil {
			return
		}
		for _, on := range []subject{onPath, onMethod, onHeader} {
			matches, err := matchesOf(expression, on)
			if err != nil {
				continue
			}
			got := len(matches) == 0
			for _, m := range matches {
				switch m.Kind {
				case policy.MatchExact:
					got = got || m.Value == text
				case policy.MatchPrefix:
					got = got || len(text) >= len(m.Value) && text[:len(m.Value)] == m.Value
				case policy.MatchRegex:
					got = got || re.MatchString(text)
				}
			}
			if want := expression == "" || re.MatchString(text); got != want {
				t.Fatalf("%q on %q: %v as an expression, %v as %v", expression, text, want, got, matches)
			}
		}
	})
}

func BenchmarkSnapshot10000Pods(b *testing.B) {
	data, err := os.ReadFile("../../config/samples/allow-get-data.yaml")
	if err != nil {
		b.Fatal(err)
	}
	o, err := objectsOf(data)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1000 {
		p := o.Policies[0].DeepCopy()
		p.SetName(string(rune('a'+i%26)) + netip.AddrFrom4([4]byte{0, 0, byte(i >> 8), byte(i)}).String())
		o.Policies = append(o.Policies, *p)
	}
	for i := range 10000 {
		var p corev1.Pod
		p.Namespace, p.Name = "demo", "pod-"+netip.AddrFrom4([4]byte{0, 0, byte(i >> 8), byte(i)}).String()
		p.Labels = map[string]string{"app": "app-" + string(rune('a'+i%26)), "tier": "web", "version": "v1", "pod-template-hash": "x"}
		p.Status.PodIP = netip.AddrFrom4([4]byte{10, 244, byte(i >> 8), byte(i)}).String()
		o.Pods = append(o.Pods, p)
	}
	b.ReportAllocs()
	for b.Loop() {
		if s, _ := Snapshot(o); len(s.Endpoints) != 10000 {
			b.Fatal("pods are missing")
		}
	}
}
