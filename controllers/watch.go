package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// everything is the one request there is: each event asks for the same work.
func everything() reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Name: "everything"}}
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// toEverything asks for everything, a little later, so that events that come together
// are one compile.
func toEverything() handler.EventHandler {
	add := func(q queue) { q.AddAfter(everything(), coalesce) }
	return handler.Funcs{
		CreateFunc:  func(_ context.Context, _ event.CreateEvent, q queue) { add(q) },
		UpdateFunc:  func(_ context.Context, _ event.UpdateEvent, q queue) { add(q) },
		DeleteFunc:  func(_ context.Context, _ event.DeleteEvent, q queue) { add(q) },
		GenericFunc: func(_ context.Context, _ event.GenericEvent, q queue) { add(q) },
	}
}

// everywhere is for a controller of every replica: each compiles for itself, and serves what
// all others serve.
func everywhere(r reconcile.Reconciler) controller.Options {
	elected := false
	return controller.Options{Reconciler: r, MaxConcurrentReconciles: 1, NeedLeaderElection: &elected}
}

// watch makes the two controllers and what wakes them.
func (o *Operator) watch() error {
	objects := o.manager.GetCache()
	snapshots, err := controller.New("snapshot", o.manager, everywhere(o.snapshot))
	if err != nil {
		return fmt.Errorf("make the snapshot controller: %w", err)
	}
	triggers := make(chan event.GenericEvent, 1)
	o.kinds.trigger = func() {
		select {
		case triggers <- event.GenericEvent{Object: &corev1.Namespace{}}:
		default: // one is waiting already
		}
	}
	o.secrets.trigger = o.kinds.trigger
	o.kinds.watch = func(_ context.Context, k policyKind) error {
		acts := rewritten()
		if k.isGroup() {
			acts = changed() // its labels select it
		}
		return snapshots.Watch(source.Kind[client.Object](objects, k.object(), toEverything(), acts))
	}
	o.kinds.unwatch = func(ctx context.Context, k policyKind) error {
		return objects.RemoveInformer(ctx, k.object())
	}
	if err := snapshots.Watch(source.Channel(triggers, toEverything())); err != nil {
		return fmt.Errorf("watch the kinds of policies: %w", err)
	}
	for _, object := range []client.Object{
		&corev1.Pod{}, &corev1.Namespace{}, &corev1.Node{}, &corev1.Service{}, &discoveryv1.EndpointSlice{},
	} {
		if err := snapshots.Watch(source.Kind(objects, object, toEverything(), changed())); err != nil {
			return fmt.Errorf("watch %T: %w", object, err)
		}
	}
	kinds, err := controller.New("kinds", o.manager, everywhere(o.kinds))
	if err != nil {
		return fmt.Errorf("make the kinds controller: %w", err)
	}
	// A cluster may have no definition at all, and then nothing else asks.
	first := make(chan event.GenericEvent, 1)
	first <- event.GenericEvent{Object: &corev1.Namespace{}}
	if err := kinds.Watch(source.Channel(first, toEverything())); err != nil {
		return fmt.Errorf("begin with the kinds of policies: %w", err)
	}
	definitions := &metav1.PartialObjectMetadata{}
	definitions.SetGroupVersionKind(crdKind())
	if err := kinds.Watch(source.Kind[client.Object](objects, definitions, toEverything())); err != nil {
		return fmt.Errorf("watch definitions: %w", err)
	}
	return nil
}
