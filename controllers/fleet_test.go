package controllers

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

var testRef = policy.Ref{Kind: v1alpha1.KindL7NetworkPolicy, Namespace: "demo", Name: "p"}

func testMetrics(t testing.TB) *metrics {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// world is a fleet of one node and a policy, with a clock.
type world struct {
	*fleet
	at time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	w.fleet = newFleet(testMetrics(t), func() time.Time { return w.at })
	return w
}

// serve publishes a generation of the policy that selects these pods on node1.
func (w *world) serve(generation int64, node, cluster string, pods ...podID) {
	w.publish(&publication{
		policies:       []policyRecord{{ref: testRef, uid: "u", generation: generation}},
		clusterVersion: cluster,
		nodes: map[string]nodeRecord{"node1": {version: node, policies: map[policy.Ref]nodePart{
			testRef: {uid: "u", generation: generation, pods: pods, proxied: true, needs: []string{"jwt", "rate-limit"}},
		}}},
	})
}

func (w *world) says(node, cluster string, problems ...*septumpb.NodeProblem) {
	w.Reported("node1", &septumpb.NodeReport{NodeVersion: node, ClusterVersion: cluster, Problems: problems, ProxyReady: true, Instance: "i"})
}

// enforces checks that node1 enforces the policy, or does not for a reason.
func (w *world) enforces(t *testing.T, reason string) {
	t.Helper()
	got := w.facts()[0].nodes[0]
	if got.reason != reason || got.enforcing != (reason == "") {
		t.Errorf("enforcing %v, reason %q (%s), want %q", got.enforcing, got.reason, got.message, reason)
	}
}

func TestWhenANodeEnforces(t *testing.T) {
	a, a2, b := podID{"demo/a", "1"}, podID{"demo/a", "2"}, podID{"demo/b", "1"}
	for name, c := range map[string]struct {
		steps func(*world)
		want  string // the reason, "" if it enforces
	}{
		"never connected":            {func(w *world) { w.serve(1, "n1", "c1", a) }, v1alpha1.ReasonNodeUnreachable},
		"connected only":             {func(w *world) { w.serve(1, "n1", "c1", a); w.Connected("node1") }, v1alpha1.ReasonPending},
		"acknowledged":               {func(w *world) { w.serve(1, "n1", "c1", a); w.Connected("node1"); w.says("n1", "c1") }, ""},
		"an unknown version":         {func(w *world) { w.serve(1, "n1", "c1", a); w.Connected("node1"); w.says("n0", "c1") }, v1alpha1.ReasonPending},
		"an unknown cluster version": {func(w *world) { w.serve(1, "n1", "c1", a); w.Connected("node1"); w.says("n1", "c0") }, v1alpha1.ReasonPending},
		"the last generation": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(2, "n2", "c1", a)
		}, v1alpha1.ReasonPending},
		"a generation that changes nothing": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(2, "n1", "c1", a)
		}, ""},
		"older than what it needs": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Restricted("node1", xds.Restriction{Version: "less", Of: "n1", Lacks: []string{"jwt"}})
			w.says("less", "c1")
		}, v1alpha1.ReasonNodeOutdated},
		"older, but not than what it needs": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Restricted("node1", xds.Restriction{Version: "less", Of: "n1", Lacks: []string{"kafka"}})
			w.says("less", "c1")
		}, ""},
		"updated": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Restricted("node1", xds.Restriction{Version: "less", Of: "n1", Lacks: []string{"jwt"}})
			w.says("less", "c1")
			w.says("n1", "c1")
		}, ""},
		"restricted, of the last generation": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Restricted("node1", xds.Restriction{Version: "less", Of: "n1", Lacks: []string{"kafka"}})
			w.says("less", "c1")
			w.serve(2, "n2", "c1", a)
			w.Restricted("node1", xds.Restriction{Version: "less2", Of: "n2", Lacks: []string{"kafka"}})
		}, v1alpha1.ReasonPending},
		"a pod more": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(1, "n2", "c2", a, b)
		}, v1alpha1.ReasonPending},
		"a pod less": {func(w *world) {
			w.serve(1, "n1", "c1", a, b)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(1, "n2", "c2", a)
		}, ""},
		"another pod of the same name": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(1, "n2", "c2", a2)
		}, v1alpha1.ReasonPending},
		"the tables, but not the addresses": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.serve(2, "n2", "c2", a)
			w.Connected("node1")
			w.says("n2", "c1")
		}, v1alpha1.ReasonPending},
		"addresses that changed later": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.serve(1, "n1", "c2", a)
		}, ""},
		"refused": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Acked("node1", xds.NodeType, errors.New("no such class"))
		}, v1alpha1.ReasonNodeRejected},
		"refused, then taken": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.Acked("node1", xds.NodeType, errors.New("no such class"))
			w.Acked("node1", xds.NodeType, nil)
			w.says("n1", "c1")
		}, ""},
		"a pod that cannot be enforced": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1", &septumpb.NodeProblem{Endpoint: "demo/a", Message: "no veth"})
		}, v1alpha1.ReasonNotEnforceable},
		"somebody else's pod": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1", &septumpb.NodeProblem{Endpoint: "demo/z", Message: "no veth"})
		}, ""},
		"away for a moment": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.Disconnected("node1")
			w.at = w.at.Add(grace)
		}, ""},
		"away for longer": {func(w *world) {
			w.serve(1, "n1", "c1", a)
			w.Connected("node1")
			w.says("n1", "c1")
			w.Disconnected("node1")
			w.at = w.at.Add(grace + time.Second)
		}, v1alpha1.ReasonNodeUnreachable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.steps(w)
			w.enforces(t, c.want)
		})
	}
}

func TestTheProxyIsTrouble(t *testing.T) {
	w := newWorld(t)
	w.serve(1, "n1", "c1", podID{"demo/a", "1"})
	w.Connected("node1")
	w.Reported("node1", &septumpb.NodeReport{NodeVersion: "n1", ClusterVersion: "c1"})
	got := w.facts()[0].nodes[0]
	if !got.enforcing || got.failsOpen || len(got.trouble) != 1 || !strings.Contains(got.trouble[0], "requests are refused") {
		t.Errorf("enforcing %v, trouble %q", got.enforcing, got.trouble)
	}
	w.current.policies[0].failure = policy.FailOpen
	if got = w.facts()[0].nodes[0]; !got.failsOpen || len(got.trouble) != 1 || !strings.Contains(got.trouble[0], "unjudged") {
		t.Errorf("failing open %v, trouble %q", got.failsOpen, got.trouble)
	}
}

func TestNodeMetrics(t *testing.T) {
	w := newWorld(t)
	w.serve(1, "n1", "c1", podID{"demo/a", "1"})
	w.Connected("node1")
	w.says("n1", "c1")
	if connected, acked := testutil.ToFloat64(w.metrics.connected), testutil.ToFloat64(w.metrics.acked); connected != 1 || acked != 1 {
		t.Errorf("%v connected, %v acked", connected, acked)
	}
	w.serve(2, "n2", "c1", podID{"demo/a", "1"})
	w.Disconnected("node1")
	if connected, acked := testutil.ToFloat64(w.metrics.connected), testutil.ToFloat64(w.metrics.acked); connected != 0 || acked != 0 {
		t.Errorf("%v connected, %v acked, after it went", connected, acked)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	w := newWorld(t)
	for i := range 3 * versionsKept {
		w.serve(int64(i), "n"+time.Duration(i).String(), "c"+time.Duration(i).String(), podID{"demo/a", "1"})
	}
	if n := len(w.nodes["node1"].records); n != versionsKept {
		t.Errorf("%d versions are remembered", n)
	}
	if n := len(w.clusters.numbers); n > versionsKept {
		t.Errorf("%d cluster versions are remembered", n)
	}
	if n := len(w.published); n != 2 {
		t.Errorf("%d elements are remembered", n)
	}
}
