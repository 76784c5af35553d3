package bpf

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What is denied is counted and told once for each attempt, however often it is sent.
func TestRefusalsAreCountedOnce(t *testing.T) {
	server80 := server4 + ":80"
	attempt := func(seq uint32) frame {
		return tcp(denyPeer+":4000", server80, syn).with(func(f *frame) { f.seq = seq })
	}
	datagram, another := udp(l4Peer+":4000", server80), udp(l4Peer+":4001", server80)
	byRule := tcp(denyPeer+":4000", server4+":9090", syn)
	letGo := tcp(denyPeer+":4000", audited+":80", syn)
	// later is what is known of the flows, so much older.
	later := func(by time.Duration) func(*runner) {
		return func(r *runner) {
			refusals, err := readMap[septumRefusalKey, septumRefusal](r.objs.Refusals)
			must(r.t, err)
			for k, v := range refusals {
				v.Counted -= uint64(by)
				must(r.t, r.objs.Refusals.Put(k, v))
			}
		}
	}
	tests := []struct {
		name  string
		steps []step
		// rules are the counters, and events the number of events.
		rules  map[uint32]Counter
		events int
	}{
		{"a SYN that is sent again", []step{
			toPod("SYN", attempt(7), drop, "policy"),
			toPod("again", attempt(7), drop, "policy"),
			toPod("after a minute", attempt(7), drop, "policy").after(later(63 * time.Second)),
		}, map[uint32]Counter{0: {Denied: 1}}, 1},
		{"attempts from one port", []step{
			toPod("SYN", attempt(7), drop, "policy"),
			toPod("another SYN", attempt(8), drop, "policy"),
			toPod("the other again", attempt(8), drop, "policy"),
			toPod("the same much later", attempt(8), drop, "policy").after(later(10 * time.Minute)),
		}, map[uint32]Counter{0: {Denied: 3}}, 3},
		{"a rule's denial", []step{
			toPod("SYN", byRule, drop, "policy"),
			toPod("again", byRule, drop, "policy"),
		}, map[uint32]Counter{3: {Denied: 1}}, 1},
		{"a SYN that only audit lets through", []step{
			toPod("SYN", letGo, next, ""),
			toPod("again", letGo, next, ""),
		}, map[uint32]Counter{0: {Audited: 1}}, 1},
		{"datagrams", []step{
			toPod("the first", datagram, drop, "policy"),
			toPod("the second", datagram, drop, "policy"),
			toPod("of another flow", another, drop, "policy"),
			toPod("after some seconds", datagram, drop, "policy").after(later(11 * time.Second)),
		}, map[uint32]Counter{0: {Denied: 3}}, 3},
		{"packets of no known connection", []step{
			toPod("the first", tcp(denyPeer+":4000", server80, ack), drop, "policy"),
			toPod("the second", tcp(denyPeer+":4000", server80, ack), drop, "policy"),
		}, map[uint32]Counter{}, 1},
		{"both directions of one pair of ports", []step{
			fromPod("out", udp(client+":4000", outside+":4000"), drop, "policy"),
			toPod("in", udp(outside+":4000", client+":4000"), drop, "policy"),
			fromPod("out", udp(client+":4000", outside+":4000"), drop, "policy"),
		}, map[uint32]Counter{0: {Denied: 2}}, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := newRunner(t, pods()...)
			s := testState()
			s.Endpoints[1].Ingress = closedTable // the client's
			r.apply(s)
			must(t, r.SetHostAddrs([]netip.Addr{addr(node)}))
			r.t = t
			r.steps(test.steps)
			rules, _, err := r.Counters()
			must(t, err)
			if diff := cmp.Diff(test.rules, rules); diff != "" {
				t.Errorf("counters: -want +got\n%s", diff)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			events := 0
			must(t, r.Events(ctx, func(Event) { events++ }))
			if events != test.events {
				t.Errorf("%d events, want %d", events, test.events)
			}
		})
	}
}
