package controllers

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	ciliumv2alpha1 "github.com/septum-dev/septum/api/cilium/v2alpha1"
	"github.com/septum-dev/septum/api/v1alpha1"
)

// policyKind is a kind of policy, or of what policies refer to, and the definition that
// brings it.
type policyKind struct {
	gvk schema.GroupVersionKind
	crd string
}

// policyKinds are all kinds that are enforced where the cluster has them.
func policyKinds() []policyKind {
	native, cilium := v1alpha1.GroupVersion(), ciliumv2.GroupVersion()
	return []policyKind{
		{native.WithKind(v1alpha1.KindL7NetworkPolicy), "l7networkpolicies.septum.dev"},
		{native.WithKind(v1alpha1.KindClusterL7NetworkPolicy), "clusterl7networkpolicies.septum.dev"},
		{cilium.WithKind(ciliumv2.KindCiliumNetworkPolicy), "ciliumnetworkpolicies.cilium.io"},
		{cilium.WithKind(ciliumv2.KindCiliumClusterwideNetworkPolicy), "ciliumclusterwidenetworkpolicies.cilium.io"},
	}
}

// cidrGroupKinds are the versions of CiliumCIDRGroup, the one that is used first. Cilium had
// only the older one before 1.18.
func cidrGroupKinds() []policyKind {
	const crd = "ciliumcidrgroups.cilium.io"
	current := ciliumv2.GroupVersion()
	older := schema.GroupVersion{Group: ciliumv2.Group, Version: ciliumv2alpha1.Version}
	return []policyKind{
		{current.WithKind(ciliumv2.KindCiliumCIDRGroup), crd},
		{older.WithKind(ciliumv2.KindCiliumCIDRGroup), crd},
	}
}

// watchedKinds are all kinds that are watched where the cluster has them.
func watchedKinds() []policyKind { return slices.Concat(policyKinds(), cidrGroupKinds()) }

// isGroup says whether objects of the kind are CIDR groups, and not policies.
func (k policyKind) isGroup() bool { return k.gvk.Kind == ciliumv2.KindCiliumCIDRGroup }

// versions are those of the kind that serve as well, the first that the cluster has.
func (k policyKind) versions() []string {
	if !k.isGroup() {
		return []string{k.gvk.Version}
	}
	var out []string
	for _, v := range cidrGroupKinds() {
		out = append(out, v.gvk.Version)
	}
	return out
}

func kindOf(name string) (policyKind, bool) {
	kinds := policyKinds()
	i := slices.IndexFunc(kinds, func(k policyKind) bool { return k.gvk.Kind == name })
	if i < 0 {
		return policyKind{}, false
	}
	return kinds[i], true
}

func (k policyKind) object() *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(k.gvk)
	return u
}

func (k policyKind) list() *unstructured.UnstructuredList {
	u := &unstructured.UnstructuredList{}
	u.SetGroupVersionKind(k.gvk.GroupVersion().WithKind(k.gvk.Kind + "List"))
	return u
}

// kindRetry is how soon a definition is looked at again that is not served yet.
const kindRetry = time.Second

// kindsReconciler finds out which of the policies' kinds the cluster has, and has them
// watched. A kind is given up only when its definition is known to be gone: a kind that
// was merely not found would take its policies with it, and open what they close.
type kindsReconciler struct {
	// reader asks the API server itself.
	reader client.Reader
	mapper meta.RESTMapper
	// watch and unwatch begin and end the events of a kind.
	watch, unwatch func(context.Context, policyKind) error
	// trigger asks for a compile.
	trigger func()

	mu     sync.Mutex
	active map[policyKind]bool
	known  bool
}

// list returns the kinds that the cluster has, and false while that is not known.
func (r *kindsReconciler) list() ([]policyKind, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []policyKind
	for _, k := range watchedKinds() {
		if r.active[k] {
			out = append(out, k)
		}
	}
	return out, r.known
}

// Reconcile looks at all kinds, whichever definition changed.
func (r *kindsReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	again := false
	for _, k := range watchedKinds() {
		exists, served, err := r.look(ctx, k)
		if err != nil {
			return reconcile.Result{}, err
		}
		again = again || exists && !served
		if err := r.set(ctx, k, exists, served); err != nil {
			return reconcile.Result{}, err
		}
	}
	r.mu.Lock()
	r.known = true
	r.mu.Unlock()
	r.trigger()
	if again {
		return reconcile.Result{RequeueAfter: kindRetry}, nil
	}
	return reconcile.Result{}, nil
}

func (r *kindsReconciler) look(ctx context.Context, k policyKind) (exists, served bool, err error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind())
	err = r.reader.Get(ctx, client.ObjectKey{Name: k.crd}, crd)
	if apierrors.IsNotFound(err) {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("look for the definition of %s: %w", k.gvk.Kind, err)
	}
	if crd.DeletionTimestamp != nil {
		return true, false, nil
	}
	mapping, err := r.mapper.RESTMapping(k.gvk.GroupKind(), k.versions()...)
	if meta.IsNoMatchError(err) {
		return true, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("look for %s: %w", k.gvk.Kind, err)
	}
	if mapping.GroupVersionKind.Version != k.gvk.Version {
		return false, false, nil // its objects are seen in another version
	}
	return true, true, nil
}

func (r *kindsReconciler) set(ctx context.Context, k policyKind, exists, served bool) error {
	r.mu.Lock()
	active := r.active[k]
	r.mu.Unlock()
	switch {
	case !active && exists && served:
		if err := r.watch(ctx, k); err != nil {
			return fmt.Errorf("watch %s: %w", k.gvk.Kind, err)
		}
		active = true
	case active && !exists:
		if err := r.unwatch(ctx, k); err != nil {
			return fmt.Errorf("give up %s: %w", k.gvk.Kind, err)
		}
		active = false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active[k] = active
	return nil
}

func crdKind() schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
}
