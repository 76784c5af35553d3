package bpf

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// Whoever speaks or waits: connections that a new policy ends are found at once, and only once.
func TestSweep(t *testing.T) {
	r := newRunner(t, pods()...)
	r.apply(testState())
	must(t, r.SetHostAddrs([]netip.Addr{addr(node)}))
	const server80 = server4 + ":80"
	r.steps([]step{
		toPod("direct", tcp(l4Peer+":4000", server80, syn), next, ""),
		fromPod("its answer", tcp(server80, l4Peer+":4000", syn|ack), next, ""),
		toPod("closed", tcp(l4Peer+":4001", server80, syn), next, ""),
		toPod("its end", tcp(l4Peer+":4001", server80, fin|ack), next, ""),
		fromPod("its other end", tcp(server80, l4Peer+":4001", fin|ack), next, ""),
		toPod("proxied", tcp(l7Peer+":4000", server80, syn), redirect, ""),
		toPod("the node's own", tcp(node+":4000", server80, syn), next, "").fromHost(),
		fromPod("on egress", tcp(client+":4000", l4Peer+":80", syn), next, ""),
	})
	sweeps := func(want ...Ended) {
		t.Helper()
		got, err := r.Sweep()
		must(t, err)
		slices.SortFunc(got, func(a, b Ended) int { return a.Pod.Compare(b.Pod) + 2*a.Peer.Compare(b.Peer) })
		slices.SortFunc(want, func(a, b Ended) int { return a.Pod.Compare(b.Pod) + 2*a.Peer.Compare(b.Peer) })
		if !slices.Equal(got, want) {
			t.Errorf("ended: %v, want %v", got, want)
		}
	}
	at := netip.MustParseAddrPort
	sweeps()
	change(verdictOf(5, policy.Redirected, class+1))(r)
	r.steps([]step{toPod("a packet before the sweep", tcp(l7Peer+":4000", server80, ack), drop, "reclassed")})
	sweeps(Ended{at(server80), at(l7Peer + ":4000"), policy.Ingress, true})
	sweeps()
	change(func(s *State) { s.Tables = nil })(r)
	sweeps(Ended{at(server80), at(l4Peer + ":4000"), policy.Ingress, false}, Ended{at(client + ":4000"), at(l4Peer + ":80"), policy.Egress, false})
	r.steps([]step{
		toPod("the end passes", tcp(l4Peer+":4000", server80, rst), next, "cut"),
		toPod("the node's own goes on", tcp(node+":4000", server80, ack), next, "").fromHost(),
	})
}
