package controllers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

const (
	// countersEvery is how often an object is written for its counters alone.
	countersEvery = time.Second
	// lookEvery is how often statuses are looked at when nothing has happened.
	lookEvery = 5 * time.Second
	// settle is how long after the start a status is not made worse only because nodes
	// have not come back yet.
	settle = 30 * time.Second
)

// statusWriter is the only writer of conditions and L7PolicyStatus objects. It runs on
// the leader, in one goroutine.
type statusWriter struct {
	client client.Client
	// reader asks the API server itself.
	reader    client.Reader
	recorder  events.EventRecorder
	fleet     *fleet
	namespace string
	metrics   *metrics
	log       logr.Logger
	now       func() time.Time

	started time.Time
	written map[policy.Ref]*written
}

// written is what a policy's two objects say, as far as this writer knows.
type written struct {
	uid        string
	generation int64
	conditions []metav1.Condition
	problems   []v1alpha1.PolicyProblem
	// stands is false until the conditions have been written or found as they must be.
	stands bool

	status   *v1alpha1.L7PolicyStatusStatus
	statusAt time.Time
}

// load reads the counters that were written before, and begins to count.
func (w *statusWriter) load(ctx context.Context) error {
	w.started, w.written = w.now(), map[policy.Ref]*written{}
	var list v1alpha1.L7PolicyStatusList
	if err := w.reader.List(ctx, &list); err != nil {
		if meta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			w.log.Info("the definition of L7PolicyStatus is missing: no counters are kept")
			w.fleet.lead(func(*counters) {})
			return nil
		}
		return fmt.Errorf("list L7PolicyStatus: %w", err)
	}
	w.fleet.lead(func(c *counters) {
		for _, s := range list.Items {
			ref := policy.Ref{Kind: s.PolicyRef.Kind, Namespace: s.PolicyRef.Namespace, Name: s.PolicyRef.Name}
			rows := make(map[string]tally, len(s.Status.Nodes))
			for _, n := range s.Status.Nodes {
				rows[n.Name] = tally{n.Allowed, n.Denied, n.Audited, n.Unjudged}
			}
			var last denial
			if d := s.Status.LastDenial; d != nil {
				last = denial{at: d.Time.UnixNano(), summary: d.Summary, rule: d.Rule}
			}
			c.seed(ref, s.PolicyRef.UID, tally{s.Status.Allowed, s.Status.Denied, s.Status.Audited, s.Status.Unjudged}, rows, last)
		}
	})
	return nil
}

// run writes until the context ends.
func (w *statusWriter) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		again := w.pass(ctx)
		var later <-chan time.Time
		if again > 0 {
			later = time.After(again)
		}
		select {
		case <-ctx.Done():
			return
		case <-w.fleet.wake:
		case <-tick.C:
		case <-later:
		}
	}
}

// pass writes what differs: all conditions first, counters after. It returns when
// something is left over for later; 0 if nothing is.
func (w *statusWriter) pass(ctx context.Context) time.Duration {
	all := w.fleet.facts()
	var again time.Duration
	var counts []func()
	alive := make(map[policy.Ref]bool, len(all))
	for _, p := range all {
		alive[p.ref] = true
		known, err := w.known(ctx, p)
		if err != nil {
			again = w.failed(err, p.ref, again)
			continue
		}
		next := conditions(p)
		if w.now().Sub(w.started) < settle && onlyWaiting(known, p, next) {
			continue
		}
		if err := w.writeConditions(ctx, p, known, next); err != nil {
			again = w.failed(err, p.ref, again)
			continue
		}
		status := statusOf(p, known.conditions)
		switch {
		case known.status != nil && reflect.DeepEqual(withoutTimes(*known.status), withoutTimes(status)):
		case known.status != nil && reflect.DeepEqual(withoutCounts(*known.status), withoutCounts(status)):
			if wait := countersEvery - w.now().Sub(known.statusAt); wait > 0 {
				again = sooner(again, wait)
				continue
			}
			counts = append(counts, func() { again = w.failed(w.writeStatus(ctx, p, known, status), p.ref, again) })
		default:
			again = w.failed(w.writeStatus(ctx, p, known, status), p.ref, again)
		}
	}
	for _, write := range counts {
		write()
	}
	for ref := range w.written {
		if !alive[ref] {
			delete(w.written, ref)
		}
	}
	return again
}

// failed logs what will be tried again.
func (w *statusWriter) failed(err error, ref policy.Ref, again time.Duration) time.Duration {
	if err == nil || errors.Is(err, context.Canceled) {
		return again
	}
	w.log.Error(err, "status not written", "kind", ref.Kind, "namespace", ref.Namespace, "policy", ref.Name)
	return sooner(again, countersEvery)
}

func sooner(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// known returns what is written of the policy; of one that is seen first, what its
// object says.
func (w *statusWriter) known(ctx context.Context, p policyFacts) (*written, error) {
	if known := w.written[p.ref]; known != nil && known.uid == p.uid {
		return known, nil
	}
	kind, ok := kindOf(p.ref.Kind)
	if !ok {
		return nil, fmt.Errorf("there is no kind %q", p.ref.Kind)
	}
	object := kind.object()
	if err := w.client.Get(ctx, client.ObjectKey{Namespace: p.ref.Namespace, Name: p.ref.Name}, object); err != nil {
		if apierrors.IsNotFound(err) {
			return &written{uid: p.uid}, nil // it is going away
		}
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	var status struct {
		Status v1alpha1.PolicyStatus `json:"status"`
	}
	text, err := json.Marshal(object.Object)
	if err == nil {
		err = json.Unmarshal(text, &status)
	}
	if err != nil {
		return nil, fmt.Errorf("read the policy's status: %w", err)
	}
	out := &written{uid: p.uid, generation: p.generation, conditions: status.Status.Conditions, problems: status.Status.Problems}
	w.written[p.ref] = out
	return out, nil
}

// onlyWaiting says whether the status would be made worse only because nodes that were
// there before the operator started have not come back yet.
func onlyWaiting(known *written, p policyFacts, next []metav1.Condition) bool {
	before := meta.FindStatusCondition(known.conditions, v1alpha1.ConditionEnforced)
	after := meta.FindStatusCondition(next, v1alpha1.ConditionEnforced)
	return before != nil && before.Status == metav1.ConditionTrue && before.ObservedGeneration == p.generation &&
		after.Status == metav1.ConditionFalse && (after.Reason == v1alpha1.ReasonPending || after.Reason == v1alpha1.ReasonNodeUnreachable)
}

func (w *statusWriter) writeConditions(ctx context.Context, p policyFacts, known *written, next []metav1.Condition) error {
	if isCilium(p.ref.Kind) {
		next = append(next, valid(p))
	}
	merged := slices.Clone(known.conditions)
	changed := !known.stands && len(known.conditions) == 0
	for _, c := range next {
		c.LastTransitionTime = metav1.NewTime(w.now().Truncate(time.Second))
		if meta.SetStatusCondition(&merged, c) {
			changed = true
		}
	}
	problems := problemRows(p.problems)
	if !isCilium(p.ref.Kind) && (!slices.Equal(problems, known.problems) || known.generation != p.generation) {
		changed = true
	}
	if !changed {
		known.stands = true
		return nil
	}
	status := map[string]any{"conditions": merged}
	if !isCilium(p.ref.Kind) {
		status["observedGeneration"], status["problems"] = p.generation, nullIfEmpty(problems)
	}
	kind, _ := kindOf(p.ref.Kind)
	object := kind.object()
	object.SetNamespace(p.ref.Namespace)
	object.SetName(p.ref.Name)
	err := w.patchStatus(ctx, object, p.uid, status)
	w.metrics.wrote(p.ref.Kind, err)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		err = nil // gone, or another of the same name: the next compile knows
	}
	if err != nil {
		return fmt.Errorf("write the policy's conditions: %w", err)
	}
	w.tell(p, known.conditions, merged)
	known.conditions, known.problems, known.generation, known.stands = merged, problems, p.generation, true
	return nil
}

// patchStatus replaces the named fields of an object's status, if it is still that object.
func (w *statusWriter) patchStatus(ctx context.Context, object client.Object, uid string, status map[string]any) error {
	patch := map[string]any{"status": status}
	if uid != "" {
		patch["metadata"] = map[string]any{"uid": uid}
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	return w.client.Status().Patch(ctx, object, client.RawPatch(types.MergePatchType, text))
}

// tell makes events of the conditions that changed.
func (w *statusWriter) tell(p policyFacts, before, after []metav1.Condition) {
	kind, _ := kindOf(p.ref.Kind)
	object := kind.object()
	object.SetNamespace(p.ref.Namespace)
	object.SetName(p.ref.Name)
	object.SetUID(types.UID(p.uid))
	for _, c := range after {
		old := meta.FindStatusCondition(before, c.Type)
		good := metav1.ConditionTrue
		switch c.Type {
		case v1alpha1.ConditionDegraded, v1alpha1.ConditionConflicted:
			good = metav1.ConditionFalse
		case v1alpha1.ConditionValid:
			continue // says what Accepted says
		}
		eventType := corev1.EventTypeNormal
		switch {
		case c.Reason == v1alpha1.ReasonAcceptedWithWarnings && (old == nil || old.Reason != c.Reason || old.Message != c.Message):
			eventType = corev1.EventTypeWarning // such as rules that can match nothing
		case old != nil && old.Status == c.Status:
			continue
		case c.Status != good && c.Reason != v1alpha1.ReasonPending:
			eventType = corev1.EventTypeWarning
		case old == nil && c.Type != v1alpha1.ConditionEnforced:
			continue // good from the start: nothing to tell
		}
		w.recorder.Eventf(object, nil, eventType, c.Reason, c.Type, "%s", cut(c.Message, 1000))
	}
}
