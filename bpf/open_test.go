package bpf

import (
	"testing"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"github.com/google/go-cmp/cmp"
	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// TestFailurePolicy: what goes on where the proxy cannot judge it, and what does not.
func TestFailurePolicy(t *testing.T) {
	server80, server80v6, peer := server4+":80", "["+server6+"]:80", l7Peer+":4000"
	gone := func(families ...uint32) func(*runner) {
		return func(r *runner) {
			for _, family := range families {
				must(r.t, r.objs.Listeners.Delete(family<<16|class))
			}
		}
	}
	noListener := gone(unix.AF_INET, unix.AF_INET6)
	noProxy := func(r *runner) { r.setProxy(0) }
	silent := func(r *runner) { must(r.t, r.SetProxySilent(policy.BackendEnvoy, true)) }
	fails := func(f policy.Failure) func(*runner) {
		return func(r *runner) { r.apply(failing(f)) }
	}
	bothFail := func(f, g func(*runner)) func(*runner) { return func(r *runner) { f(r); g(r) } }
	begin := tcp(peer, server80, syn)
	tests := []struct {
		name    string
		failure policy.Failure
		steps   []step
		counter Counter
		event   string
	}{
		{"served", policy.FailOpen, []step{toPod("syn", begin, redirect, "")}, Counter{Redirected: 1}, ""},
		{"closed, no listener", policy.FailClosed, []step{toPod("syn", begin, redirect, "no-listener").after(noListener)}, Counter{Denied: 1}, "no-listener"},
		{"open, no listener", policy.FailOpen, []step{
			toPod("syn", begin, next, "").after(noListener),
			fromPod("its reply", tcp(server80, peer, syn|ack), next, ""),
			toPod("data", tcp(peer, server80, ack), next, ""),
		}, Counter{Unjudged: 1}, "no-listener"},
		{"open, no proxy", policy.FailOpen, []step{toPod("syn", begin, next, "").after(noProxy)}, Counter{Unjudged: 1}, "no-proxy"},
		{"open, the proxy hangs", policy.FailOpen, []step{
			toPod("syn", begin, next, "").after(silent),
			toPod("after it has come back", tcp(l7Peer+":4001", server80, syn), redirect, "").after(func(r *runner) { must(r.t, r.SetProxySilent(policy.BackendEnvoy, false)) }),
			toPod("the first goes on", tcp(peer, server80, ack), next, ""),
		}, Counter{Unjudged: 1, Redirected: 1}, "no-proxy"},
		{"closed, the proxy hangs", policy.FailClosed, []step{toPod("syn", begin, redirect, "").after(silent)}, Counter{Redirected: 1}, ""},
		{"open, another proxy hangs", policy.FailOpen, []step{
			toPod("syn", begin, redirect, "").after(func(r *runner) { must(r.t, r.SetProxySilent(policy.BackendOwn, true)) }),
		}, Counter{Redirected: 1}, ""},
		{"open, the proxy listens on IPv4 only", policy.FailOpen, []step{
			toPod("syn", tcp("["+l7Peer6+"]:4000", server80v6, syn), redirect, "no-listener").after(gone(unix.AF_INET6)),
		}, Counter{Denied: 1}, "no-listener"},
		{"open, of another's verdict", policy.FailOpen, []step{
			toPod("denied by a rule", tcp(denyPeer+":4000", server4+":9090", syn), drop, "policy").after(noListener),
			toPod("denied by default", tcp(denyPeer+":4000", server80, syn), drop, "policy"),
			toPod("not the beginning", tcp(l7Peer+":4002", server80, ack), redirect, "midstream"),
		}, Counter{}, ""},
		{"open, datagrams, no listener", policy.FailOpen, []step{
			toPod("first", udp("10.0.1.77:4000", server80), next, "").after(noListener),
			fromPod("its reply", udp(server80, "10.0.1.77:4000"), next, ""),
		}, Counter{Unjudged: 1}, "no-listener"},
		{"a change of policy that still allows it", policy.FailOpen, []step{
			toPod("syn", begin, next, "").after(noListener),
			toPod("data", tcp(peer, server80, ack), next, "").after(func(r *runner) { must(r.t, r.bumpGeneration()) }),
			fromPod("reply", tcp(server80, peer, ack), next, ""),
		}, Counter{Unjudged: 1}, "no-listener"},
		{"a change of policy to Closed", policy.FailOpen, []step{
			toPod("syn", begin, next, "").after(noListener),
			toPod("data", tcp(peer, server80, ack), drop, "cut").after(fails(policy.FailClosed)),
			fromPod("reply", tcp(server80, peer, ack), drop, "cut"),
		}, Counter{Unjudged: 1}, "no-listener"},
		{"a port used again when the proxy is there", policy.FailOpen, []step{
			toPod("syn", begin, next, "").after(noProxy),
			toPod("reset", tcp(peer, server80, rst), next, ""),
			toPod("syn", begin, redirect, "").after(func(r *runner) { r.setProxy(lo) }),
		}, Counter{Unjudged: 1, Redirected: 1}, "no-proxy"},
		{"a table in audit mode", policy.FailClosed, []step{
			toPod("syn", tcp(peer, audited+":80", syn), next, "").after(noProxy),
		}, Counter{Audited: 1}, "no-proxy"},
		{"a table in audit mode, open", policy.FailOpen, []step{
			toPod("syn", tcp(peer, audited+":80", syn), next, "").after(bothFail(noProxy, noListener)),
		}, Counter{Unjudged: 1}, "no-proxy"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			r.apply(failing(test.failure))
			r.steps(test.steps)
			rules, _, err := r.Counters()
			must(t, err)
			if diff := cmp.Diff(test.counter, rules[5]); diff != "" {
				t.Errorf("the rule's counter: -want +got\n%s", diff)
			}
			if test.event == "" {
				return
			}
			if e, ok := r.firstEvent(); !ok || e.Reason != test.event || e.Rule != 5 ||
				(e.Verdict == policy.Forwarded) != (test.counter.Unjudged > 0) {
				t.Errorf("event %v", e)
			}
		})
	}
}

// failing is the test's state with the failure policy of its class.
func failing(f policy.Failure) State {
	s := testState()
	for i := range s.Tables {
		if s.Tables[i].Verdict == policy.Redirected {
			s.Tables[i].Failure = f
		}
	}
	return s
}

// firstEvent empties the ring, and returns the first event.
func (r *runner) firstEvent() (Event, bool) {
	r.t.Helper()
	words := reasons()
	r.events.SetDeadline(time.Now().Add(-time.Second))
	var record ringbuf.Record
	if err := r.events.ReadInto(&record); err != nil {
		return Event{}, false
	}
	first, err := decodeEvent(record.RawSample, words[:])
	must(r.t, err)
	r.lastEvent()
	return first, true
}
