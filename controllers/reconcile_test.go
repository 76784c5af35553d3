package controllers

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/xds"
)

const samplePolicy = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: allow-get-products, namespace: demo, uid: p1, generation: 3}
spec:
  endpointSelector:
    matchLabels: {app: backend-app}
  ingress:
  - fromEndpoints:
    - matchLabels: {app: frontend-app}
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules:
        http: [{method: GET, path: /data}]
`

func testScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	// Policies are read as they are; the fake client wants to know their kinds.
	for _, k := range watchedKinds() {
		if !scheme.Recognizes(k.gvk) {
			scheme.AddKnownTypeWithName(k.gvk, &unstructured.Unstructured{})
			scheme.AddKnownTypeWithName(k.gvk.GroupVersion().WithKind(k.gvk.Kind+"List"), &unstructured.UnstructuredList{})
		}
	}
	scheme.AddKnownTypeWithName(crdKind(), &metav1.PartialObjectMetadata{})
	return scheme
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	out := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &out.Object); err != nil {
		t.Fatal(err)
	}
	out.SetGeneration(3)
	return out
}

func pod(name, app, node, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "demo", Name: name, UID: "uid-of-pod", Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

func node(name, ip string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}}},
	}
}

// sampleObjects are a small cluster with the sample policy.
func sampleObjects(t *testing.T) []client.Object {
	return []client.Object{
		parse(t, samplePolicy), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "demo"}},
		node("node1", "10.99.0.11"), node("node2", "10.99.0.12"),
		pod("backend", "backend-app", "node1", "10.244.1.5"), pod("frontend", "frontend-app", "node2", "10.244.2.5"),
	}
}

func TestSnapshotReconciler(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(sampleObjects(t)...).Build()
	known := false
	var served []xds.Publication
	var records []*publication
	fail := error(nil)
	r := &snapshotReconciler{
		cluster: "default", reader: c, secrets: &secretReader{reader: c}, metrics: testMetrics(t), log: logr.Discard(),
		kinds: func() ([]policyKind, bool) {
			kind, _ := kindOf("CiliumNetworkPolicy")
			return []policyKind{kind}, known
		},
		serve: func(p xds.Publication) error {
			served = append(served, p)
			return fail
		},
		publish: func(p *publication) { records = append(records, p) },
	}
	step := func(what string, want int) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), everything()); (err != nil) != (fail != nil) {
			t.Fatalf("%s: %v", what, err)
		}
		if len(served) != want {
			t.Fatalf("%s: served %d times, want %d", what, len(served), want)
		}
	}
	step("before the kinds are known", 0)
	known, fail = true, errors.New("no")
	step("it fails", 1)
	fail = nil
	step("it is tried again", 2)
	step("nothing changed", 2)

	p := served[1]
	if got := len(p.Nodes); got != 2 {
		t.Fatalf("%d nodes", got)
	}
	np, err := xds.Assemble("node1", p.Nodes["node1"], p.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	if len(np.Endpoints) == 0 || np.Endpoints[0].Key != "demo/backend" || !np.Endpoints[0].Policed() || len(np.Classes) != 1 {
		t.Errorf("node1 has %d endpoints and %d classes", len(np.Endpoints), len(np.Classes))
	}
	if n := len(p.Nodes["node2"]); n != 2 { // its pod, and the checkpoint
		t.Errorf("node2 has %d resources, and no pod that is selected", n)
	}
	part := records[1].nodes["node1"].policies[records[1].policies[0].ref]
	if part.generation != 3 || part.uid != "p1" || !part.proxied || len(part.pods) != 1 {
		t.Errorf("the record is %+v", part)
	}

	if err := c.Create(t.Context(), pod("backend-2", "backend-app", "node2", "10.244.2.6")); err != nil {
		t.Fatal(err)
	}
	step("a pod more", 3)
	if a, b := served[1].Nodes["node1"][xds.CheckpointName], served[2].Nodes["node1"][xds.CheckpointName]; a.GetCheckpoint().GetVersion() != b.GetCheckpoint().GetVersion() {
		t.Error("a pod on node2 changes node1's resources")
	}
	if len(served[2].Nodes["node2"]) == 1 {
		t.Error("the new pod is not enforced")
	}
	if err := c.Delete(t.Context(), node("node2", "")); err != nil {
		t.Fatal(err)
	}
	step("a node less", 4)
	if len(served[3].Nodes["node2"]) == 1 || len(records[3].nodes) != 2 {
		t.Error("a node is forgotten while it hosts a selected pod")
	}
	if err := c.Delete(t.Context(), pod("backend-2", "", "", "")); err != nil {
		t.Fatal(err)
	}
	step("its pod, too", 5)
	if _, ok := served[4].Nodes["node2"]; ok {
		t.Error("a node that is gone is still served")
	}
}

func TestKindsReconciler(t *testing.T) {
	kind, _ := kindOf("CiliumNetworkPolicy")
	crd := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: kind.crd}}
	crd.SetGroupVersionKind(crdKind())
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).Build()
	broken := false
	reader := interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
			if broken {
				return errors.New("the API server is away")
			}
			return c.Get(ctx, key, o, opts...)
		},
	})
	mapper := meta.NewDefaultRESTMapper(nil)
	var calls []string
	r := &kindsReconciler{
		reader: reader, mapper: mapper, active: map[policyKind]bool{}, trigger: func() { calls = append(calls, "trigger") },
		watch:   func(_ context.Context, k policyKind) error { calls = append(calls, "watch "+k.gvk.Kind); return nil },
		unwatch: func(_ context.Context, k policyKind) error { calls = append(calls, "unwatch "+k.gvk.Kind); return nil },
	}
	step := func(what string, fails bool, again bool, want ...string) {
		t.Helper()
		calls = nil
		result, err := r.Reconcile(t.Context(), everything())
		if (err != nil) != fails || (result.RequeueAfter > 0) != again || !slices.Equal(calls, want) {
			t.Errorf("%s: error %v, again %v, calls %q; want %q", what, err, result.RequeueAfter, calls, want)
		}
	}
	if _, known := r.list(); known {
		t.Error("the kinds are known before they were looked for")
	}
	step("none", false, false, "trigger")
	if kinds, known := r.list(); len(kinds) != 0 || !known {
		t.Errorf("kinds %v, known %v", kinds, known)
	}
	if err := c.Create(t.Context(), crd.DeepCopy()); err != nil {
		t.Fatal(err)
	}
	step("defined, not served", false, true, "trigger")
	mapper.AddSpecific(kind.gvk, schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"},
		schema.GroupVersionResource{}, meta.RESTScopeNamespace)
	step("served", false, false, "watch CiliumNetworkPolicy", "trigger")
	step("still served", false, false, "trigger")
	r.mapper = meta.NewDefaultRESTMapper(nil)
	step("not served for a moment", false, true, "trigger")
	r.mapper = mapper
	broken = true
	step("the API server is away", true, false)
	if kinds, _ := r.list(); len(kinds) != 1 {
		t.Error("the kind was given up because the API server did not answer")
	}
	broken = false
	if err := c.Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	step("gone", false, false, "unwatch CiliumNetworkPolicy", "trigger")
	if kinds, _ := r.list(); len(kinds) != 0 {
		t.Error("the kind is still there")
	}
}

func TestTrim(t *testing.T) {
	full := pod("backend", "backend-app", "node1", "10.244.1.5")
	full.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet"}}
	full.Annotations = map[string]string{"a": "b"}
	full.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}
	full.Spec.Volumes = []corev1.Volume{{Name: "v"}}
	full.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady}}
	trimmed, err := trim(full)
	if err != nil {
		t.Fatal(err)
	}
	want := pod("backend", "backend-app", "node1", "10.244.1.5")
	want.Spec.Containers = []corev1.Container{{Name: "c", Ports: full.Spec.Containers[0].Ports}}
	if diff := cmp.Diff(want, trimmed); diff != "" {
		t.Errorf("another pod (-want +got):\n%s", diff)
	}
	ready := full.DeepCopy()
	ready.ResourceVersion = "2"
	ready.Status.Conditions = nil
	moved := ready.DeepCopy()
	moved.Status.PodIPs = []corev1.PodIP{{IP: "10.244.1.6"}}
	for name, c := range map[string]struct {
		object client.Object
		same   bool
	}{"readiness": {ready, true}, "address": {moved, false}} {
		other, err := trim(c.object)
		if err != nil {
			t.Fatal(err)
		}
		if got := sameBesideVersion(trimmed.(client.Object), other.(client.Object)); got != c.same {
			t.Errorf("%s: the same is %v", name, got)
		}
	}
	if _, err := trim(&discoveryv1.EndpointSlice{}); err != nil {
		t.Error(err)
	}
	if _, err := trim("text"); err == nil {
		t.Error("a text was taken for an object")
	}
}

func TestRetryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := retry(ctx, logr.Discard(), "", func(context.Context) error { return errors.New("no") }); err == nil {
		t.Error("it succeeded")
	}
}
