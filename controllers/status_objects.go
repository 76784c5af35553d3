package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

const shownNodes = 1000

func isCilium(kind string) bool {
	return kind == ciliumv2.KindCiliumNetworkPolicy || kind == ciliumv2.KindCiliumClusterwideNetworkPolicy
}

// statusOf is a policy's L7PolicyStatus.
func statusOf(p policyFacts, conditions []metav1.Condition) v1alpha1.L7PolicyStatusStatus {
	nodes, pods := p.enforcing()
	out := v1alpha1.L7PolicyStatusStatus{
		ObservedGeneration: p.generation, Mode: v1alpha1.ModeEnforce, FailurePolicy: v1alpha1.FailClosed,
		SelectedPods: int32(pods), HostingNodes: int32(len(p.nodes)), EnforcingNodes: int32(nodes),
		Enforcing: fmt.Sprintf("%d/%d", nodes, len(p.nodes)),
		Allowed:   p.total.allowed, Denied: p.total.denied, Audited: p.total.audited, Unjudged: p.total.unjudged,
		Conditions: conditions, Problems: problemRows(p.problems),
	}
	if p.mode == policy.Audit {
		out.Mode = v1alpha1.ModeAudit
	}
	if p.failure == policy.FailOpen {
		out.FailurePolicy = v1alpha1.FailOpen
	}
	if p.last.at > 0 {
		out.LastDenial = &v1alpha1.Denial{
			Time:    metav1.NewTime(time.Unix(0, p.last.at).UTC().Truncate(time.Second)),
			Summary: cut(p.last.summary, 512), Rule: cut(p.last.rule, 512),
		}
	}
	rows := p.nodes
	if len(rows) > shownNodes {
		rows = slices.Clone(rows)
		slices.SortStableFunc(rows, func(a, b nodeFacts) int { return btoi(a.enforcing) - btoi(b.enforcing) })
		rows = rows[:shownNodes]
		slices.SortFunc(rows, func(a, b nodeFacts) int { return strings.Compare(a.name, b.name) })
	}
	for _, n := range rows {
		row := v1alpha1.NodeStatus{
			Name: n.name, Pods: int32(n.pods), Enforcing: n.enforcing, Generation: n.generation,
			Reason: n.reason, Message: cut(n.message, 1000),
			Allowed: n.count.allowed, Denied: n.count.denied, Audited: n.count.audited, Unjudged: n.count.unjudged,
		}
		if !n.reported.IsZero() {
			at := metav1.NewTime(n.reported.UTC().Truncate(time.Second))
			row.LastReport = &at
		}
		out.Nodes = append(out.Nodes, row)
	}
	return out
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func problemRows(problems []policy.Problem) []v1alpha1.PolicyProblem {
	var out []v1alpha1.PolicyProblem
	for _, p := range problems[:min(len(problems), shownProblems)] {
		out = append(out, v1alpha1.PolicyProblem{
			Path: cut(p.Path, 1000), Reason: string(p.Reason), Message: cut(p.Message, maxMessage), Warning: p.Warning,
		})
	}
	return out
}

// withoutTimes is what must differ for a status to be written at all: that a node has
// reported the same again is no news.
func withoutTimes(s v1alpha1.L7PolicyStatusStatus) v1alpha1.L7PolicyStatusStatus {
	s.Nodes = slices.Clone(s.Nodes)
	for i := range s.Nodes {
		s.Nodes[i].LastReport = nil
	}
	return s
}

// withoutCounts is what must differ for a status to be written at once.
func withoutCounts(s v1alpha1.L7PolicyStatusStatus) v1alpha1.L7PolicyStatusStatus {
	s = withoutTimes(s)
	s.Allowed, s.Denied, s.Audited, s.Unjudged, s.LastDenial = 0, 0, 0, 0, nil
	for i := range s.Nodes {
		s.Nodes[i].Allowed, s.Nodes[i].Denied, s.Nodes[i].Audited, s.Nodes[i].Unjudged = 0, 0, 0, 0
	}
	return s
}

// statusKey is where a policy's L7PolicyStatus stands: with the policy, or in the
// operator's own namespace for one that has no namespace.
func (w *statusWriter) statusKey(ref policy.Ref) client.ObjectKey {
	key := client.ObjectKey{Namespace: ref.Namespace, Name: v1alpha1.StatusName(ref.Kind, ref.Name)}
	if key.Namespace == "" {
		key.Namespace = w.namespace
	}
	return key
}

func (w *statusWriter) writeStatus(ctx context.Context, p policyFacts, known *written, status v1alpha1.L7PolicyStatusStatus) error {
	err := w.ensureStatus(ctx, p, known)
	if err == nil {
		object := &v1alpha1.L7PolicyStatus{}
		key := w.statusKey(p.ref)
		object.Namespace, object.Name = key.Namespace, key.Name
		var fields map[string]any
		if fields, err = statusFields(status); err == nil {
			err = w.patchStatus(ctx, object, "", fields)
		}
	}
	w.metrics.wrote(v1alpha1.KindL7PolicyStatus, err)
	if apierrors.IsNotFound(err) {
		known.status = nil // deleted by hand: it is made anew
	}
	if err != nil {
		return fmt.Errorf("write L7PolicyStatus: %w", err)
	}
	known.status, known.statusAt = &status, w.now()
	return nil
}

// ensureStatus makes the object, or makes one that is there belong to this policy.
func (w *statusWriter) ensureStatus(ctx context.Context, p policyFacts, known *written) error {
	if known.status != nil {
		return nil
	}
	kind, _ := kindOf(p.ref.Kind)
	key := w.statusKey(p.ref)
	object := &v1alpha1.L7PolicyStatus{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{"app.kubernetes.io/managed-by": "septum-operator"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: kind.gvk.GroupVersion().String(), Kind: kind.gvk.Kind, Name: p.ref.Name, UID: types.UID(p.uid),
			}},
		},
		PolicyRef: v1alpha1.PolicyReference{Kind: p.ref.Kind, Namespace: p.ref.Namespace, Name: p.ref.Name, UID: p.uid},
	}
	err := w.client.Create(ctx, object)
	if !apierrors.IsAlreadyExists(err) {
		return err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"ownerReferences": object.OwnerReferences, "labels": object.Labels}, "policyRef": object.PolicyRef,
	})
	if err != nil {
		return err
	}
	return w.client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
}

// statusFields names every field, so that a patch also removes what is empty.
func statusFields(s v1alpha1.L7PolicyStatusStatus) (map[string]any, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	out := map[string]any{"lastDenial": nil, "problems": nil, "nodes": nil, "conditions": nil}
	if err := json.Unmarshal(text, &out); err != nil {
		return nil, err
	}
	return out, nil
}

func nullIfEmpty[T any](list []T) any {
	if len(list) == 0 {
		return nil
	}
	return list
}
