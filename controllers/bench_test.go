package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/septum-dev/septum/policy/ingest"
	"github.com/septum-dev/septum/xds"
)

// size is that of a cluster: its pods are of applications of ten, in namespaces of twenty.
type size struct{ pods, policies, rules int }

func (s size) apps() int { return max(1, s.pods/10) }

func (s size) String() string {
	return fmt.Sprintf("pods=%d/policies=%d/rules=%d", s.pods, s.policies, s.rules)
}

// objects are a cluster of 100 nodes. Each policy selects one application and allows two
// others, every third with HTTP rules: so many in the first, one in the rest.
func (s size) objects(b *testing.B) ingest.Objects {
	b.Helper()
	out := ingest.Objects{Cluster: "default"}
	for i := range 100 {
		out.Nodes = append(out.Nodes, *node(fmt.Sprintf("node%d", i), fmt.Sprintf("10.99.0.%d", i+1)))
	}
	for i := range (s.apps() + 19) / 20 {
		out.Namespaces = append(out.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("ns", i)}})
	}
	for i := range s.pods {
		out.Pods = append(out.Pods, s.pod(i))
	}
	for i := range s.policies {
		out.Policies = append(out.Policies, s.policy(b, i, "/data"))
	}
	return out
}

func (s size) pod(i int) corev1.Pod {
	app := (i / 10) % s.apps()
	p := pod(fmt.Sprintf("pod-%d", i), fmt.Sprintf("app-%d", app), fmt.Sprintf("node%d", i%100), fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255))
	p.Namespace, p.UID = fmt.Sprint("ns", app/20), types.UID(fmt.Sprint("uid", i))
	return *p
}

func (s size) policy(b *testing.B, i int, path string) unstructured.Unstructured {
	b.Helper()
	app := func(i int) any {
		i %= s.apps()
		return map[string]any{"matchLabels": map[string]any{"app": fmt.Sprintf("app-%d", i), "k8s:io.kubernetes.pod.namespace": fmt.Sprint("ns", i/20)}}
	}
	toPorts := map[string]any{"ports": []any{map[string]any{"port": "8080", "protocol": "TCP"}}}
	if i%3 == 0 {
		rules := []any{map[string]any{"method": "GET", "path": path}}
		for r := 1; i == 0 && r < s.rules; r++ {
			rules = append(rules, map[string]any{"method": "GET", "path": fmt.Sprintf("/api/v1/resource-%d", r)})
		}
		toPorts["rules"] = map[string]any{"http": rules}
	}
	own := i % s.apps()
	u := unstructured.Unstructured{Object: map[string]any{"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy", "spec": map[string]any{
		"endpointSelector": map[string]any{"matchLabels": map[string]any{"app": fmt.Sprintf("app-%d", own)}},
		"ingress":          []any{map[string]any{"fromEndpoints": []any{app(i + 1), app(i + 7)}, "toPorts": []any{toPorts}}},
		"egress":           []any{map[string]any{"toCIDR": []any{fmt.Sprintf("20.%d.%d.0/24", i>>8, i&255)}}},
	}}}
	u.SetNamespace(fmt.Sprint("ns", own/20))
	u.SetName(fmt.Sprintf("policy-%d", i))
	u.SetUID(types.UID(fmt.Sprint("policy", i)))
	u.SetGeneration(1)
	return u
}

// operator is the part of an operator that works on values: objects in, resources out.
type operator struct {
	*xds.Server
	*fleet
	*publisher
}

func newBenchOperator(b *testing.B) operator {
	b.Helper()
	fleet := newFleet(testMetrics(b), time.Now)
	server, err := xds.NewServer(xds.ServerConfig{
		Names: []string{"a"}, CA: func() *xds.CA { return nil }, Observer: fleet, Now: time.Now, Log: logr.Discard(),
		Authenticate: (&authenticator{}).authenticate,
	})
	if err != nil {
		b.Fatal(err)
	}
	return operator{server, fleet, &publisher{}}
}

func (o operator) recompile(b *testing.B, objects ingest.Objects) {
	snapshot, problems := ingest.Snapshot(objects)
	served, record, err := o.publisher.publish(snapshot, problems)
	if err != nil {
		b.Fatal(err)
	}
	o.fleet.publish(record)
	if err := o.Publish(served); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkCompile is what docs/performance.md has a table of: everything from objects to
// what the nodes are served, in an operator that has just started (whole), after one edited
// rule (edit), and for a pod that comes and one that goes (pod).
func BenchmarkCompile(b *testing.B) {
	var sizes []size
	for _, pods := range []int{1000, 10000, 100000} {
		for _, policies := range []int{10, 100, 1000, 5000} {
			sizes = append(sizes, size{pods, policies, 1})
		}
	}
	for _, rules := range []int{10, 100, 1000, 10000} {
		sizes = append(sizes, size{1000, 10, rules})
	}
	for _, s := range sizes {
		objects := s.objects(b)
		stages := map[string]func(o operator, i int){
			"whole": func(_ operator, _ int) { newBenchOperator(b).recompile(b, objects) },
			"edit": func(o operator, i int) {
				objects.Policies[0] = s.policy(b, 0, fmt.Sprint("/data/", i))
				o.recompile(b, objects)
			},
			"pod": func(o operator, i int) {
				objects.Pods[0] = s.pod(s.pods + 10*s.apps()*i)
				o.recompile(b, objects)
			},
		}
		for _, name := range []string{"whole", "edit", "pod"} {
			b.Run(s.String()+"/"+name, func(b *testing.B) {
				o := newBenchOperator(b)
				if name != "whole" {
					o.recompile(b, objects)
				}
				b.ReportAllocs()
				i, began := 0, cpu(b)
				for b.Loop() {
					i++
					stages[name](o, i)
				}
				// Others' work on the machine does not count here.
				b.ReportMetric(float64((cpu(b)-began).Milliseconds())/float64(b.N), "cpu-ms/op")
			})
		}
	}
}

// cpu is the time that this process has had of all processors.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
