package enforcer

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// A policy that is deleted leaves its class and programs for as long as connections may take.
func TestDeletedPolicyLingers(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.drainLimit = time.Millisecond
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	w.took()
	free := pod("p", "u1", "10.0.0.1")
	free.Ingress = ""
	w.updates <- update("2", nil, free)
	w.wants("envoy a", "maps 10.0.0.1", "saved 2", "envoy a") // at last with rules that allow everything
	w.set(func() {
		want := []bpf.SuccessorEntry{{Class: w.numbers.Classes["a"]}}
		if e := w.written.Endpoints[0]; e.Ingress != 0 || e.Egress != 0 || !slices.Equal(w.written.Successors, want) {
			t.Errorf("written: %+v", w.written)
		}
	})
	w.reported("2 in force", isInForce("2"))
	w.wants("envoy ", "maps ", "detach 11") // Envoy ends what is left, and then the programs go
}

// A class whose rules come to another one lends its connections their new rules. Where Envoy
// does not take these, nothing lingers.
func TestClassFollowed(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	w.took()
	w.updates <- update("2", []string{"b"}, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy a,b", "maps 10.0.0.1", "saved 2", "envoy a,b")
	w.reported("2 in force", isInForce("2"))
	w.set(func() {
		want := []bpf.SuccessorEntry{{Class: w.numbers.Classes["a"], Successor: w.numbers.Classes["b"]}}
		if !slices.Equal(w.written.Successors, want) {
			t.Errorf("successors: %+v, want %+v", w.written.Successors, want)
		}
		asked := 0
		w.answer = func(context.Context, []string) error {
			if asked++; asked > 1 {
				return errFake
			}
			return nil
		}
	})
	w.updates <- update("3", []string{"c"}, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy a,b,c", "maps 10.0.0.1", "saved 3", "envoy a,b,c", "maps 10.0.0.1")
	w.reported("3 in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == "3" })
	w.set(func() {
		if len(w.written.Successors) != 0 {
			t.Errorf("successors that Envoy did not take: %+v", w.written.Successors)
		}
	})
}

// Connections that may not go on are ended at both sides.
func TestConnectionsThatANewPolicyEnds(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	w.took()
	at := netip.MustParseAddrPort
	w.set(func() {
		w.ended = []bpf.Ended{{Pod: at("10.0.0.1:80"), Peer: at("10.0.0.7:4000"), Direction: policy.Ingress}}
	})
	w.updates <- update("2", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy a", "maps 10.0.0.1", "end at 11 [{10.0.0.1:80 10.0.0.7:4000 false 0}]", "saved 2")
}
