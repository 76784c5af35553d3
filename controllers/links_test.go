package controllers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

// elsewhere is what another replica says of node1.
func elsewhere(connected bool, since time.Duration, node string) *septumpb.NodeState {
	return &septumpb.NodeState{
		Node: "node1", Connected: connected, SinceMs: since.Milliseconds(),
		Report: &septumpb.NodeReport{NodeVersion: node, ClusterVersion: "c1", ProxyReady: true, Instance: "i"},
	}
}

func TestNodesOfOtherReplicas(t *testing.T) {
	for name, c := range map[string]struct {
		steps func(*world)
		want  string
	}{
		"connected there": {func(w *world) { w.heard("b", elsewhere(true, 0, "n1")) }, ""},
		"an old version":  {func(w *world) { w.heard("b", elsewhere(true, 0, "n0")) }, v1alpha1.ReasonPending},
		"refused there": {func(w *world) {
			s := elsewhere(true, 0, "n0")
			s.Refused = map[string]string{xds.NodeType: "no such class"}
			w.heard("b", s)
		}, v1alpha1.ReasonNodeRejected},
		"older than what it needs there": {func(w *world) {
			// What a replica says is what it itself was told, sent on.
			other := newFleet(testMetrics(t), time.Now)
			other.Connected("node1")
			other.Reported("node1", &septumpb.NodeReport{NodeVersion: "less", ClusterVersion: "c1", ProxyReady: true})
			other.Restricted("node1", xds.Restriction{Version: "less", Of: "n1", Lacks: []string{"jwt"}})
			w.heard("b", other.state("node1"))
		}, v1alpha1.ReasonNodeOutdated},
		"the replica dies": {func(w *world) {
			w.heard("b", elsewhere(true, 0, "n1"))
			w.unheard("b")
			w.at = w.at.Add(grace + time.Second)
		}, v1alpha1.ReasonNodeUnreachable},
		"the replica died a moment ago": {func(w *world) {
			w.heard("b", elsewhere(true, time.Hour, "n1"))
			w.unheard("b")
			w.at = w.at.Add(grace)
		}, ""},
		"from there to here": {func(w *world) {
			w.heard("b", elsewhere(true, time.Hour, "n0"))
			w.Connected("node1")
			w.says("n1", "c1")
			w.heard("b", elsewhere(false, 0, "n0")) // it notices late
		}, ""},
		"from here to there": {func(w *world) {
			w.Connected("node1")
			w.says("n0", "c1")
			w.at = w.at.Add(time.Second)
			w.heard("b", elsewhere(true, 0, "n1")) // the stream here is dead, and nobody has noticed
		}, ""},
		"heard late of what was before": {func(w *world) {
			w.Connected("node1")
			w.says("n1", "c1")
			w.heard("b", elsewhere(false, time.Hour, "n0"))
		}, ""},
		"connected, and silent yet": {func(w *world) {
			w.heard("b", elsewhere(true, time.Hour, "n1"))
			w.heard("b", elsewhere(false, 0, "n1"))
			w.Connected("node1")
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.serve(1, "n1", "c1", podID{"demo/a", "1"})
			c.steps(w)
			w.enforces(t, c.want)
		})
	}
}

// TestLinksAreBounded holds that replicas that come and go leave nothing behind.
func TestLinksAreBounded(t *testing.T) {
	w := newWorld(t)
	w.serve(1, "n1", "c1", podID{"demo/a", "1"})
	for range 100 {
		w.at = w.at.Add(time.Second)
		name := "replica-" + w.at.String()
		w.heard(name, elsewhere(true, 0, "n1"))
		w.unheard(name)
	}
	if n := len(w.nodes["node1"].links); n > 2 {
		t.Errorf("%d links are remembered", n)
	}
}

// TestCountersOfReplicas holds that nothing is counted twice, or lost, when a node changes its
// replica and when another replica leads.
func TestCountersOfReplicas(t *testing.T) {
	count := func(instance string, n uint64) *septumpb.NodeReport {
		return &septumpb.NodeReport{Instance: instance, Counters: []*septumpb.RuleCounter{
			{Kind: testRef.Kind, Namespace: testRef.Namespace, Name: testRef.Name, Denied: n},
		}}
	}
	there := func(instance string, n uint64) *septumpb.NodeState {
		return &septumpb.NodeState{Node: "node1", Connected: true, Report: count(instance, n)}
	}
	w := newWorld(t)
	denied := func(what string, want int64) {
		t.Helper()
		if got := w.facts()[0].total.denied; got != want {
			t.Errorf("%s: %d denied, want %d", what, got, want)
		}
	}
	w.serve(1, "n1", "c1", podID{"demo/a", "1"})
	w.Connected("node1")
	w.Reported("node1", count("i", 7))
	denied("before it leads", 0)
	w.lead(func(c *counters) {
		c.seed(testRef, "u", tally{denied: 5}, map[string]tally{"node1": {denied: 5}}, denial{})
	})
	denied("with what was written before", 7)
	w.at = w.at.Add(time.Second)
	w.Disconnected("node1")
	w.heard("b", there("i", 9))
	denied("from another replica", 9)
	w.heard("b", there("i", 9))
	denied("told again", 9)
	w.heard("b", there("j", 2))
	denied("the enforcer began again", 11)
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(testMetrics(t), time.Now)
		f.Connected("node1")
		f.Reported("node1", &septumpb.NodeReport{NodeVersion: "n1"})
		f.heard("b", &septumpb.NodeState{Node: "node2", Connected: true})
		time.Sleep(3 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		got, ended := make(chan *septumpb.NodeState), make(chan error, 1)
		go func() {
			ended <- f.Follow(ctx, func(s *septumpb.NodeState) error {
				got <- s
				return nil
			})
		}()
		first := <-got
		if first.GetNode() != "node1" || !first.GetConnected() || first.GetSinceMs() != 3000 || first.GetReportedMs() != 3000 || first.GetReport().GetNodeVersion() != "n1" {
			t.Errorf("told %v", first)
		}
		// While nobody takes what is sent, a thousand changes become one.
		for range 1000 {
			f.Acked("node1", xds.NodeType, errors.New("no"))
		}
		f.Disconnected("node1")
		second := <-got
		if second.GetConnected() || second.GetSinceMs() > 100 {
			t.Errorf("told %v", second)
		}
		synctest.Wait()
		select {
		case more := <-got:
			t.Errorf("told more: %v", more)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended by %v", err)
		}
		if len(f.followers) != 0 {
			t.Error("a follower is left")
		}
	})
}

func operatorPod(name, account, ip string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "septum-system", Name: name},
		Spec:       corev1.PodSpec{ServiceAccountName: account}, Status: corev1.PodStatus{Phase: phase, PodIP: ip},
	}
}

func TestWhoIsFollowed(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(
		operatorPod("me", "septum-operator", "192.0.2.1", corev1.PodRunning),
		operatorPod("other", "septum-operator", "2001:db8::2", corev1.PodRunning),
		operatorPod("new", "septum-operator", "", corev1.PodPending),
		operatorPod("over", "septum-operator", "192.0.2.4", corev1.PodFailed),
		operatorPod("enforcer", "septum-enforcer", "192.0.2.5", corev1.PodRunning),
	).Build()
	r := &replicas{pods: c, namespace: "septum-system", pod: "me", port: "9443"}
	got, err := r.others(t.Context())
	if diff := cmp.Diff(map[string]string{"other": "[2001:db8::2]:9443"}, got); err != nil || diff != "" {
		t.Errorf("(%v):\n%s", err, diff)
	}
	r.pod = "gone"
	if got, err := r.others(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("whose account is not known follows %v (%v)", got, err)
	}
}

// TestReplicasComeAndGo holds that the leader follows each replica while there is one.
func TestReplicasComeAndGo(t *testing.T) {
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithObjects(
		operatorPod("me", "septum-operator", "192.0.2.1", corev1.PodRunning),
		operatorPod("other", "septum-operator", "192.0.2.2", corev1.PodRunning),
	).Build()
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(testMetrics(t), time.Now)
		tries := 0
		r := &replicas{pods: c, namespace: "septum-system", pod: "me", port: "9443", fleet: f, log: logr.Discard(),
			follow: func(ctx context.Context, address string, take func(*septumpb.NodeState)) error {
				if tries++; tries == 1 {
					return errors.New("not yet")
				}
				take(&septumpb.NodeState{Node: "node1", Connected: true})
				<-ctx.Done()
				return ctx.Err()
			}}
		connected := func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.node("node1").connected
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			r.run(ctx)
		}()
		time.Sleep(replicaRetry + time.Millisecond)
		synctest.Wait()
		if !connected() {
			t.Error("the replica's node is not known")
		}
		if err := c.Delete(t.Context(), operatorPod("other", "", "", "")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * replicasEvery)
		synctest.Wait()
		if connected() {
			t.Error("the node of a replica that is gone counts as connected")
		}
		cancel()
		<-done
	})
}

func TestWithoutTheAPIServer(t *testing.T) {
	away := false
	c := fake.NewClientBuilder().WithScheme(testScheme(t)).WithInterceptorFuncs(interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if away {
				return errors.New("connection refused")
			}
			return c.Get(ctx, key, object, options...)
		},
	}).Build()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		go func() {
			ended <- (&contact{reader: c, namespace: "septum-system", log: logr.Discard(), every: contactEvery, lost: contactLost}).Start(t.Context())
		}()
		time.Sleep(time.Hour)
		away = true
		time.Sleep(contactLost - contactEvery)
		away = false
		time.Sleep(time.Hour)
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v", err)
		default:
		}
		away = true
		time.Sleep(contactLost + 2*contactEvery)
		select {
		case err := <-ended:
			if err == nil {
				t.Error("it ended without an error: the process would go on")
			}
		default:
			t.Error("it goes on, with what may be wrong by now")
		}
	})
}
