package controllers

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/policy/ingest"
	"github.com/septum-dev/septum/xds"
)

// largeCluster has 50 nodes, 5,000 pods in 100 applications, and a policy for each.
func largeCluster(b *testing.B) ingest.Objects {
	b.Helper()
	out := ingest.Objects{Cluster: "default", Namespaces: []corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: "demo"}}}}
	for i := range 50 {
		out.Nodes = append(out.Nodes, *node(fmt.Sprintf("node%d", i), fmt.Sprintf("10.99.0.%d", i+1)))
	}
	for i := range 5000 {
		p := pod(fmt.Sprintf("pod-%d", i), fmt.Sprintf("app-%d", i%100), fmt.Sprintf("node%d", i%50), fmt.Sprintf("10.%d.%d.5", 100+i/250, i%250))
		out.Pods = append(out.Pods, *p)
	}
	for i := range 100 {
		var u unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(samplePolicy), &u.Object); err != nil {
			b.Fatal(err)
		}
		u.SetName(fmt.Sprintf("policy-%d", i))
		if err := unstructured.SetNestedField(u.Object, fmt.Sprintf("app-%d", i), "spec", "endpointSelector", "matchLabels", "app"); err != nil {
			b.Fatal(err)
		}
		out.Policies = append(out.Policies, u)
	}
	return out
}

// BenchmarkRecompile is what one event costs in a large cluster: all of it again.
func BenchmarkRecompile(b *testing.B) {
	objects := largeCluster(b)
	fleet := newFleet(testMetrics(b), time.Now)
	server, err := xds.NewServer(xds.ServerConfig{
		Names: []string{"a"}, CA: func() *xds.CA { return nil }, Observer: fleet, Now: time.Now, Log: logr.Discard(),
		Authenticate: (&authenticator{}).authenticate,
	})
	if err != nil {
		b.Fatal(err)
	}
	for name, f := range map[string]func(ingest.Objects){
		"ingest": func(o ingest.Objects) { ingest.Snapshot(o) },
		"all": func(o ingest.Objects) {
			snapshot, problems := ingest.Snapshot(o)
			served, record, err := publish(snapshot, problems)
			if err != nil {
				b.Fatal(err)
			}
			fleet.publish(record)
			if err := server.Publish(served); err != nil {
				b.Fatal(err)
			}
		},
	} {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				objects.Pods[0].Labels = map[string]string{"app": fmt.Sprintf("app-%d", i%2)}
				f(objects)
			}
		})
	}
}
