package controllers

import (
	"context"
	"slices"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/septum-dev/septum/xds"
)

// TestCIDRGroupsInOneVersion: the groups are watched in one of their versions, the newest.
func TestCIDRGroupsInOneVersion(t *testing.T) {
	crd := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "ciliumcidrgroups.cilium.io"}}
	crd.SetGroupVersionKind(crdKind())
	serving := func(versions ...string) meta.RESTMapper {
		out := meta.NewDefaultRESTMapper(nil)
		for _, v := range versions {
			gv := schema.GroupVersion{Group: "cilium.io", Version: v}
			out.AddSpecific(gv.WithKind("CiliumCIDRGroup"), gv.WithResource("ciliumcidrgroups"), gv.WithResource("ciliumcidrgroup"), meta.RESTScopeRoot)
		}
		return meta.PriorityRESTMapper{Delegate: out}
	}
	var calls []string
	r := &kindsReconciler{
		reader: fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(crd).Build(),
		active: map[policyKind]bool{}, trigger: func() {},
		watch: func(_ context.Context, k policyKind) error { calls = append(calls, "watch "+k.gvk.Version); return nil },
		unwatch: func(_ context.Context, k policyKind) error {
			calls = append(calls, "unwatch "+k.gvk.Version)
			return nil
		},
	}
	for _, step := range []struct {
		serves []string
		calls  []string
		again  bool
	}{
		{nil, nil, true},
		{[]string{"v2alpha1"}, []string{"watch v2alpha1"}, false},
		{[]string{"v2alpha1"}, nil, false},
		{[]string{"v2alpha1", "v2"}, []string{"watch v2", "unwatch v2alpha1"}, false},
		{[]string{"v2alpha1", "v2"}, nil, false},
	} {
		calls, r.mapper = nil, serving(step.serves...)
		result, err := r.Reconcile(t.Context(), everything())
		if err != nil || (result.RequeueAfter > 0) != step.again || !slices.Equal(calls, step.calls) {
			t.Errorf("serving %v: %v, again after %v, calls %q; want %q", step.serves, err, result.RequeueAfter, calls, step.calls)
		}
	}
}

const groupPolicy = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: from-office, namespace: demo, uid: p2, generation: 3}
spec:
  endpointSelector: {}
  ingress:
  - fromCIDRSet: [{cidrGroupRef: office}]
`

// TestCIDRGroupActsAtOnce: a group that comes, changes or goes changes what the nodes have.
func TestCIDRGroupActsAtOnce(t *testing.T) {
	objects := append(sampleObjects(t)[1:], parse(t, groupPolicy))
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(objects...).Build()
	var served []xds.Publication
	var records []*publication
	r := &snapshotReconciler{
		cluster: "default", reader: c, secrets: &secretReader{reader: c}, metrics: testMetrics(t), log: logr.Discard(),
		kinds: func() ([]policyKind, bool) {
			kind, _ := kindOf("CiliumNetworkPolicy")
			return []policyKind{kind, cidrGroupKinds()[0]}, true
		},
		serve:   func(p xds.Publication) error { served = append(served, p); return nil },
		publish: func(p *publication) { records = append(records, p) },
	}
	group := parse(t, "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: office}, spec: {externalCIDRs: [192.0.2.0/24]}}")
	step := func(what string, want string, missing bool) {
		t.Helper()
		if _, err := r.Reconcile(t.Context(), everything()); err != nil {
			t.Fatal(err)
		}
		np, err := xds.Assemble("node1", served[len(served)-1].Nodes["node1"], served[len(served)-1].Cluster)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, a := range np.Addresses {
			if a.Node == "" {
				got += a.Prefix.String()
			}
		}
		refs := resolvedRefs(policyFacts{policyRecord: records[len(records)-1].policies[0]})
		if got != want || (refs.Status == metav1.ConditionFalse) != missing {
			t.Errorf("%s: ranges %q, want %q; %s %s: %s", what, got, want, refs.Type, refs.Status, refs.Message)
		}
	}
	step("without the group", "", true)
	if err := c.Create(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	step("with it", "192.0.2.0/24", false)
	if err := unstructured.SetNestedStringSlice(group.Object, []string{"198.51.100.0/24"}, "spec", "externalCIDRs"); err != nil {
		t.Fatal(err)
	}
	if err := c.Update(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	step("changed", "198.51.100.0/24", false)
	if err := c.Delete(t.Context(), group); err != nil {
		t.Fatal(err)
	}
	step("without it again", "", true)
}

// TestLabelsOfAGroupAreNews: labels select groups, and change no generation.
func TestLabelsOfAGroupAreNews(t *testing.T) {
	old := parse(t, "{apiVersion: cilium.io/v2, kind: CiliumCIDRGroup, metadata: {name: office, resourceVersion: '1'}, spec: {externalCIDRs: []}}")
	labelled := old.DeepCopy()
	labelled.SetResourceVersion("2")
	same := labelled.DeepCopy()
	labelled.SetLabels(map[string]string{"zone": "office"})
	for name, c := range map[string]struct {
		object client.Object
		acts   bool
	}{"labels": {labelled, true}, "nothing": {same, false}} {
		if got := changed().Update(event.UpdateEvent{ObjectOld: old, ObjectNew: c.object}); got != c.acts {
			t.Errorf("a change of %s acts: %v", name, got)
		}
	}
}
