package controllers

import (
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

const nativePolicy = `
apiVersion: septum.dev/v1alpha1
kind: L7NetworkPolicy
metadata: {name: p, namespace: demo, uid: u, generation: 3}
spec: {endpointSelector: {}}
`

// desk is a status writer with a fake API server and a clock.
type desk struct {
	*world
	t      *testing.T
	client client.Client
	writer *statusWriter
	events *events.FakeRecorder
}

func newDesk(t *testing.T, objects ...client.Object) *desk {
	t.Helper()
	policy := parse(t, nativePolicy)
	d := &desk{world: newWorld(t), t: t, events: events.NewFakeRecorder(100)}
	d.client = fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(append(objects, policy)...).
		WithStatusSubresource(policy, &v1alpha1.L7PolicyStatus{}).Build()
	d.writer = d.newWriter()
	return d
}

func (d *desk) newWriter() *statusWriter {
	d.t.Helper()
	w := &statusWriter{
		client: d.client, reader: d.client, recorder: d.events, fleet: d.fleet, namespace: "septum-system",
		metrics: d.metrics, log: logr.Discard(), now: d.now,
	}
	if err := w.load(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	return w
}

func (d *desk) policyStatus() v1alpha1.PolicyStatus {
	d.t.Helper()
	var p v1alpha1.L7NetworkPolicy
	if err := d.client.Get(d.t.Context(), client.ObjectKey{Namespace: "demo", Name: "p"}, &p); err != nil {
		d.t.Fatal(err)
	}
	return p.Status
}

func (d *desk) status() v1alpha1.L7PolicyStatus {
	d.t.Helper()
	var s v1alpha1.L7PolicyStatus
	if err := d.client.Get(d.t.Context(), client.ObjectKey{Namespace: "demo", Name: "l7np.p"}, &s); err != nil {
		d.t.Fatal(err)
	}
	return s
}

func (d *desk) expect(what, enforced, reason, nodes string) {
	d.t.Helper()
	c := meta.FindStatusCondition(d.policyStatus().Conditions, v1alpha1.ConditionEnforced)
	if c == nil || string(c.Status) != enforced || c.Reason != reason {
		d.t.Errorf("%s: Enforced is %+v, want %s %s", what, c, enforced, reason)
	}
	if got := d.status().Status.Enforcing; got != nodes {
		d.t.Errorf("%s: enforcing is %q, want %q", what, got, nodes)
	}
}

func (d *desk) denied(n uint64, instance string) {
	d.Reported("node1", &septumpb.NodeReport{NodeVersion: "n1", ClusterVersion: "c1", ProxyReady: true, Instance: instance, Counters: []*septumpb.RuleCounter{
		{Kind: testRef.Kind, Namespace: testRef.Namespace, Name: testRef.Name, Allowed: 2 * n, Denied: n, LastDenied: d.at.UnixNano(),
			LastDenial: "demo/c -> demo/a:80 GET /\x1b[2J" + strings.Repeat("x", 600), LastRule: "spec.ingress[0]"},
	}})
}

func TestStatusFollowsTheNodes(t *testing.T) {
	d := newDesk(t)
	a := podID{"demo/a", "1"}
	d.serve(3, "n1", "c1", a)
	d.Connected("node1")
	d.writer.pass(t.Context())
	d.expect("published", "False", v1alpha1.ReasonPending, "0/1")
	d.says("n1", "c1")
	d.at = d.at.Add(time.Minute)
	d.writer.pass(t.Context())
	d.expect("acknowledged", "True", v1alpha1.ReasonEnforced, "1/1")

	got := d.status()
	if owner := got.OwnerReferences; len(owner) != 1 || owner[0].UID != "u" || owner[0].Kind != v1alpha1.KindL7NetworkPolicy || owner[0].APIVersion != "septum.dev/v1alpha1" {
		t.Errorf("owners are %+v", owner)
	}
	if diff := cmp.Diff(v1alpha1.PolicyReference{Kind: v1alpha1.KindL7NetworkPolicy, Namespace: "demo", Name: "p", UID: "u"}, got.PolicyRef); diff != "" {
		t.Error(diff)
	}
	if d.policyStatus().ObservedGeneration != 3 || len(d.policyStatus().Conditions) != 5 {
		t.Errorf("the policy's status is %+v", d.policyStatus())
	}
	enforced := meta.FindStatusCondition(got.Status.Conditions, v1alpha1.ConditionEnforced)
	if !enforced.LastTransitionTime.Time.Equal(d.at) {
		t.Errorf("the transition was at %s, not at %s", enforced.LastTransitionTime, d.at)
	}

	d.serve(4, "n2", "c1", a)
	d.writer.pass(t.Context())
	d.expect("a new generation", "False", v1alpha1.ReasonPending, "0/1")
	d.publish(&publication{policies: []policyRecord{{ref: testRef, uid: "u", generation: 4, problems: []policy.Problem{{Path: "spec.x", Reason: policy.ReasonInvalid, Message: "bad"}}}}, clusterVersion: "c1"})
	d.writer.pass(t.Context())
	d.expect("no pods, and a problem", "True", v1alpha1.ReasonNoPodSelected, "0/0")
	if got := d.policyStatus(); len(got.Problems) != 1 || len(d.status().Status.Problems) != 1 || got.ObservedGeneration != 4 || !meta.IsStatusConditionFalse(got.Conditions, v1alpha1.ConditionAccepted) {
		t.Errorf("the status is %+v", got)
	}
	d.serve(5, "n3", "c1", a)
	d.writer.pass(t.Context())
	if len(d.policyStatus().Problems)+len(d.status().Status.Problems) != 0 {
		t.Error("the problems are still there")
	}
	var told []string
	for len(d.events.Events) > 0 {
		told = append(told, strings.Join(strings.Fields(<-d.events.Events)[:2], " "))
	}
	want := []string{"Normal Pending", "Normal Enforced", "Normal Pending", "Warning Invalid", "Normal NoPodSelected", "Warning PartlyClosed", "Normal Accepted", "Normal Pending", "Normal Healthy"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("other events (-want +got):\n%s", diff)
	}
}

func TestCountersAreWrittenOnceASecond(t *testing.T) {
	d := newDesk(t)
	d.serve(3, "n1", "c1", podID{"demo/a", "1"})
	d.Connected("node1")
	d.denied(1, "i")
	d.writer.pass(t.Context())
	if s := d.status().Status; s.Denied != 1 || s.Allowed != 2 || s.Nodes[0].Denied != 1 || s.LastDenial == nil {
		t.Fatalf("the status is %+v", s)
	} else if last := s.LastDenial; !strings.HasPrefix(last.Summary, "demo/c -> demo/a:80 GET / [2Jxxx") || len(last.Summary) > 512 || last.Rule != "spec.ingress[0]" {
		t.Errorf("the last denial is %+v", last)
	}
	version := d.status().ResourceVersion
	d.at = d.at.Add(countersEvery / 2)
	d.denied(5, "i")
	if wait := d.writer.pass(t.Context()); wait != countersEvery/2 {
		t.Errorf("the rest is for later: %s", wait)
	}
	if d.status().ResourceVersion != version {
		t.Error("it was written too soon")
	}
	d.at = d.at.Add(countersEvery / 2)
	d.writer.pass(t.Context())
	if s := d.status().Status; s.Denied != 5 {
		t.Errorf("%d denied", s.Denied)
	}
	version = d.status().ResourceVersion
	d.at = d.at.Add(time.Minute)
	d.says("n1", "c1") // no news but the time
	d.writer.pass(t.Context())
	if d.status().ResourceVersion != version {
		t.Error("it was written without news")
	}
}

func TestARestartedOperatorGoesOn(t *testing.T) {
	d := newDesk(t)
	d.serve(3, "n1", "c1", podID{"demo/a", "1"})
	d.Connected("node1")
	d.denied(7, "i")
	d.writer.pass(t.Context())
	d.expect("before", "True", v1alpha1.ReasonEnforced, "1/1")
	for len(d.events.Events) > 0 {
		<-d.events.Events
	}

	d.fleet = newFleet(testMetrics(t), func() time.Time { return d.at })
	d.writer = d.newWriter()
	d.serve(3, "n1", "c1", podID{"demo/a", "1"})
	d.writer.pass(t.Context())
	d.expect("the node is not back yet", "True", v1alpha1.ReasonEnforced, "1/1")
	d.Connected("node1")
	d.denied(8, "i")
	d.at = d.at.Add(countersEvery)
	d.writer.pass(t.Context())
	d.expect("the node is back", "True", v1alpha1.ReasonEnforced, "1/1")
	if got := d.status().Status.Denied; got != 8 {
		t.Errorf("%d denied, want 8", got)
	}
	if len(d.events.Events) > 0 {
		t.Errorf("an event: %s", <-d.events.Events)
	}
	d.Disconnected("node1")
	d.at = d.at.Add(grace + settle)
	d.writer.pass(t.Context())
	d.expect("the node stays away", "False", v1alpha1.ReasonNodeUnreachable, "0/1")
}

func TestWhereAStatusStands(t *testing.T) {
	w := &statusWriter{namespace: "septum-system"}
	for kind, c := range map[string]struct{ namespace, want string }{
		v1alpha1.KindL7NetworkPolicy:        {"demo", "demo/l7np.p"},
		v1alpha1.KindClusterL7NetworkPolicy: {"", "septum-system/cl7np.p"},
		"CiliumNetworkPolicy":               {"demo", "demo/cnp.p"},
		"CiliumClusterwideNetworkPolicy":    {"", "septum-system/ccnp.p"},
	} {
		if got := w.statusKey(policy.Ref{Kind: kind, Namespace: c.namespace, Name: "p"}).String(); got != c.want {
			t.Errorf("%s: %s, want %s", kind, got, c.want)
		}
	}
}

func TestAStatusThatWasDeletedComesBack(t *testing.T) {
	d := newDesk(t)
	d.serve(3, "n1", "c1", podID{"demo/a", "1"})
	d.writer.pass(t.Context())
	s := d.status()
	if err := d.client.Delete(t.Context(), &s); err != nil {
		t.Fatal(err)
	}
	d.Connected("node1")
	d.says("n1", "c1")
	if again := d.writer.pass(t.Context()); again == 0 {
		t.Error("it is not tried again")
	}
	d.writer.pass(t.Context())
	d.expect("made anew", "True", v1alpha1.ReasonEnforced, "1/1")
}

// TestWarningsAreTold: what can never match is an event once, and again when it is another.
func TestWarningsAreTold(t *testing.T) {
	recorder := events.NewFakeRecorder(10)
	w := &statusWriter{recorder: recorder}
	p := policyFacts{policyRecord: policyRecord{ref: policy.Ref{Kind: v1alpha1.KindL7NetworkPolicy, Namespace: "demo", Name: "n"}}}
	warned := func(message string) []metav1.Condition {
		return []metav1.Condition{condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonAcceptedWithWarnings, message)}
	}
	good := []metav1.Condition{condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonAccepted, "good")}
	for _, tt := range []struct {
		before, after []metav1.Condition
		want          int
	}{
		{nil, warned("a"), 1}, {good, warned("a"), 1}, {warned("a"), warned("a"), 0}, {warned("a"), warned("b"), 1}, {warned("b"), good, 0}, {nil, good, 0},
	} {
		w.tell(p, tt.before, tt.after)
		if got := len(recorder.Events); got != tt.want {
			t.Errorf("%+v to %+v: %d events, want %d", tt.before, tt.after, got, tt.want)
		}
		for len(recorder.Events) > 0 {
			if e := <-recorder.Events; !strings.HasPrefix(e, "Warning AcceptedWithWarnings") {
				t.Errorf("the event is %q", e)
			}
		}
	}
}
