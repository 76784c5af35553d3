package controllers

import (
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/septum-dev/septum/xds"
)

// TestReplicasServeTheSame holds that what is served follows from the objects alone, and not from the order in
// which a replica came to know them, or from what was there before: a node that changes its replica is sent
// nothing only because of that.
func TestReplicasServeTheSame(t *testing.T) {
	kinds := func() ([]policyKind, bool) {
		kind, _ := kindOf("CiliumNetworkPolicy")
		return []policyKind{kind}, true
	}
	replica := func(c client.Client, served *xds.Publication) *snapshotReconciler {
		return &snapshotReconciler{
			cluster: "default", reader: c, secrets: &secretReader{reader: c}, metrics: testMetrics(t), log: logr.Discard(), kinds: kinds,
			serve:   func(p xds.Publication) error { *served = p; return nil },
			publish: func(*publication) {},
		}
	}
	objects := append(sampleObjects(t), pod("third", "third-app", "node2", "10.244.2.6"), pod("zeroth", "a-app", "node1", "10.244.1.6"))
	backwards := sampleObjects(t)
	backwards = append(backwards, pod("third", "third-app", "node2", "10.244.2.6"), pod("zeroth", "a-app", "node1", "10.244.1.6"))
	slices.Reverse(backwards)

	var first, second xds.Publication
	young := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects...).Build()
	if _, err := replica(young, &first).Reconcile(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	// The other has been there for long: it knew a pod that is gone, and a namespace came late.
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(pod("gone", "gone-app", "node1", "10.244.1.9"), node("node1", "10.99.0.11")).Build()
	old := replica(c, &second)
	for _, object := range backwards {
		if _, err := old.Reconcile(t.Context(), everything()); err != nil {
			t.Fatal(err)
		}
		object.SetResourceVersion("")
		if err := c.Create(t.Context(), object); err != nil && object.GetName() != "node1" {
			t.Fatal(err)
		}
	}
	if err := c.Delete(t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: "gone"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := old.Reconcile(t.Context(), everything()); err != nil {
		t.Fatal(err)
	}
	if len(first.Nodes["node1"]) < 4 || len(first.Cluster) < 4 {
		t.Fatalf("too little is served to compare: %v", first)
	}
	if diff := cmp.Diff(first, second, protocmp.Transform()); diff != "" {
		t.Errorf("they serve not the same:\n%s", diff)
	}
}
