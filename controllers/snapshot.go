package controllers

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
	"github.com/septum-dev/septum/xds"
)

// coalesce is how long a compile waits for more events.
const coalesce = 10 * time.Millisecond

// snapshotReconciler compiles whenever anything changed, and does nothing
// when the result would be equal.
type snapshotReconciler struct {
	cluster string
	reader  client.Reader
	secrets *secretReader
	kinds   func() ([]policyKind, bool)
	// serve gives the nodes their resources; publish tells the status writer.
	serve   func(xds.Publication) error
	publish func(*publication)
	metrics *metrics
	log     logr.Logger

	publisher publisher

	done     bool
	snapshot policy.Snapshot
	problems []policy.Problem
}

// Reconcile is run by one worker only.
func (r *snapshotReconciler) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	kinds, known := r.kinds()
	if !known {
		return reconcile.Result{}, nil // asked for again once it is known
	}
	objects, err := r.objects(ctx, kinds)
	if err != nil {
		return reconcile.Result{}, err
	}
	began := time.Now()
	r.secrets.into(&objects)
	snapshot, problems := ingest.Snapshot(objects)
	changed, err := r.secrets.want(ctx, snapshot.SecretKeys)
	if err != nil {
		return reconcile.Result{}, err
	}
	if changed { // policies name Secrets that had not been read
		objects.Secrets = nil
		r.secrets.into(&objects)
		snapshot, problems = ingest.Snapshot(objects)
	}
	if r.done && reflect.DeepEqual(snapshot, r.snapshot) && reflect.DeepEqual(problems, r.problems) {
		return reconcile.Result{}, nil
	}
	served, record, err := r.publisher.publish(snapshot, problems)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("compile: %w", err)
	}
	// The record goes first: a node may report a version as soon as it is served.
	r.publish(record)
	if err := r.serve(served); err != nil {
		return reconcile.Result{}, err
	}
	r.snapshot, r.problems, r.done = snapshot, problems, true
	took := time.Since(began)
	r.metrics.compiled(took, record)
	r.log.V(1).Info("compiled", "policies", len(snapshot.Policies), "endpoints", len(snapshot.Endpoints),
		"nodes", len(snapshot.Nodes), "took", took.String())
	return reconcile.Result{}, nil
}

// objects are read from the cache without copies: ingest changes nothing of them.
func (r *snapshotReconciler) objects(ctx context.Context, kinds []policyKind) (ingest.Objects, error) {
	out := ingest.Objects{Cluster: r.cluster}
	var pods corev1.PodList
	var namespaces corev1.NamespaceList
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var endpointSlices discoveryv1.EndpointSliceList
	for _, list := range []client.ObjectList{&pods, &namespaces, &nodes, &services, &endpointSlices} {
		if err := r.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return out, fmt.Errorf("list %T: %w", list, err)
		}
	}
	out.Pods, out.Namespaces, out.Nodes = pods.Items, namespaces.Items, nodes.Items
	out.Services, out.EndpointSlices = services.Items, endpointSlices.Items
	for _, k := range kinds {
		list := k.list()
		if err := r.reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return out, fmt.Errorf("list %s: %w", k.gvk.Kind, err)
		}
		if k.isGroup() {
			out.CIDRGroups = append(out.CIDRGroups, list.Items...)
			continue
		}
		out.Policies = append(out.Policies, list.Items...)
	}
	return out, nil
}
