package enforcer

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
)

// scheduled is a pod that has no address yet.
func scheduled(name, uid string) policy.EndpointPolicy {
	ep := pod(name, uid, "10.0.0.1")
	ep.Addrs, ep.Identity = nil, 301
	return ep
}

// starting hands the enforcer a pod as the plugin does, and returns the answer and how to give up.
func (w *world) podStarts(name, uid, addr string) (answer <-chan cni.Reply, giveUp func()) {
	w.t.Helper()
	gone := make(chan struct{})
	p, answer := cni.NewPod(cni.Request{Namespace: "default", Name: name, UID: uid, Addresses: []netip.Addr{netip.MustParseAddr(addr)}}, gone)
	select {
	case w.starts <- p:
	case <-time.After(5 * time.Second):
		w.t.Fatal("the enforcer does not take the pod")
	}
	return answer, func() { close(gone) }
}

func (w *world) answered(answer <-chan cni.Reply, want cni.Reply) {
	w.t.Helper()
	select {
	case got := <-answer:
		if got != want {
			w.t.Fatalf("answer is %+v, want %+v", got, want)
		}
	case <-time.After(5 * time.Second):
		w.t.Fatalf("no answer, want %+v", want)
	}
}

func (w *world) notAnswered(answer <-chan cni.Reply) {
	w.t.Helper()
	w.changed <- struct{}{}
	select {
	case got := <-answer:
		w.t.Fatalf("answer is %+v, want none yet", got)
	case <-time.After(50 * time.Millisecond):
	}
}

var inForceReply, unselectedReply = cni.Reply{OK: true, Policed: true}, cni.Reply{OK: true} //nolint:gochecknoglobals // values that the tests compare with

// A pod may start when its endpoint, its addresses and its programs are in the data path,
// and the operator's word of the address changes nothing then.
func TestStartPoliced(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.updates <- update("1", nil, scheduled("p", "u1"))
	w.wants("envoy ", "maps ", "saved 1")
	w.reported("nothing wrong with a pod that has no address", isInForce("1"))
	answer, _ := w.podStarts("p", "u1", "10.0.0.1")
	w.answered(answer, inForceReply)
	w.wants("maps 10.0.0.1", "attach default/p to 11")
	if got := w.written.Addresses; len(got) != 1 || got[0].Prefix.String() != "10.0.0.1/32" || got[0].Identity != 301 {
		t.Errorf("addresses are %v, want the pod's with its identity", got)
	}
	known := scheduled("p", "u1")
	known.Addrs = []netip.Addr{netip.MustParseAddr("10.0.0.1")}
	w.updates <- update("2", nil, known)
	w.wants("envoy ", "maps 10.0.0.1", "saved 2")
	if len(w.kept()) != 0 {
		t.Errorf("still kept: %v", w.kept())
	}
}

func (w *world) kept() []Started {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.starting)
}

// What is not known is waited for: the pod, another pod of its name, any policy at all.
func TestStartWaitsForPolicy(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"], w.veths["10.0.0.2"] = veth(11), veth(12)
	w.run()
	first, _ := w.podStarts("p", "u2", "10.0.0.1")
	w.notAnswered(first)
	w.updates <- update("1", nil, scheduled("p", "u1"))
	w.wants("envoy ", "maps ", "saved 1")
	w.notAnswered(first)
	w.updates <- update("2", nil, scheduled("p", "u2"))
	w.answered(first, inForceReply)
	unselected := scheduled("q", "u3")
	unselected.Ingress = ""
	second, _ := w.podStarts("q", "u3", "10.0.0.2")
	w.notAnswered(second)
	w.updates <- update("3", nil, scheduled("p", "u2"), unselected)
	w.answered(second, unselectedReply)
}

func TestStartRefusedOrGivenUp(t *testing.T) {
	w := newWorld(t)
	w.failing["find"] = links.ErrNoVeth
	w.run()
	w.updates <- update("1", nil, scheduled("p", "u1"))
	w.wants("envoy ", "maps ", "saved 1")
	answer, _ := w.podStarts("p", "u1", "10.0.0.1")
	w.answered(answer, cni.Reply{Error: links.ErrNoVeth.Error()})
	// Its programs cannot be attached: it waits, until the plugin gives up.
	w.set(func() { delete(w.failing, "find"); w.failing["attach"] = errFake; w.veths["10.0.0.2"] = veth(12) })
	answer, giveUp := w.podStarts("p", "u1", "10.0.0.2")
	w.notAnswered(answer)
	giveUp()
	w.eventually("the address forgotten", func() string {
		if n := len(w.written.Endpoints); n != 0 {
			return "in the maps"
		}
		return ""
	})
}

// The plugin's word of a new sandbox counts more than what the operator still says of the
// last one, and the address of a pod that is going away is the new pod's.
func TestStartWithAddressesUsedBefore(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"], w.veths["10.0.0.2"] = veth(11), veth(12)
	w.run()
	w.updates <- update("1", nil, pod("p", "u1", "10.0.0.1"), scheduled("q", "u2"))
	w.wants("envoy ", "maps 10.0.0.1", "attach default/p to 11", "saved 1")
	answer, _ := w.podStarts("p", "u1", "10.0.0.2")
	w.answered(answer, inForceReply)
	w.wants("maps 10.0.0.2", "attach default/p to 12", "detach 11")
	w.set(func() { w.veths["10.0.0.2"] = veth(13) })
	answer, _ = w.podStarts("q", "u2", "10.0.0.2")
	w.answered(answer, inForceReply)
	w.eventually("the address is the new pod's alone", func() string {
		if len(w.written.Endpoints) != 2 { // p has its old address again, as the operator says
			return "others"
		}
		return ""
	})
}

// A restart before the operator knows the address keeps the pod policed.
func TestStartSurvivesRestart(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	stop := w.run()
	w.updates <- update("1", nil, scheduled("p", "u1"))
	answer, _ := w.podStarts("p", "u1", "10.0.0.1")
	w.answered(answer, inForceReply)
	stop()
	w.took()
	w.run()
	w.wantsInAnyOrder("maps 10.0.0.1", "envoy ", "attach default/p to 11", "saved 1")
}

// A pod that could not be saved might be open after a restart.
func TestStartNotSaved(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.failing["starts"] = nil
	w.run()
	w.updates <- update("1", nil, scheduled("p", "u1"))
	w.wants("envoy ", "maps ", "saved 1")
	w.set(func() { w.failing["starts"] = errFake })
	answer, _ := w.podStarts("p", "u1", "10.0.0.1")
	w.answered(answer, cni.Reply{Error: "save the addresses of pods that start: " + errFake.Error()})
}

// Late is a pod that came with its policy and was not held; not one that was there before
// the policy or the enforcer.
func TestSeenLate(t *testing.T) {
	w := newWorld(t)
	for i, addr := range []string{"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"} {
		w.veths[addr] = veth(11 + i)
	}
	w.run()
	unpoliced := pod("b", "u2", "10.0.0.2")
	unpoliced.Ingress = ""
	w.updates <- update("1", nil, pod("a", "u1", "10.0.0.1"), unpoliced)
	w.wants("envoy ", "maps 10.0.0.1", "attach default/a to 11", "saved 1")
	w.updates <- update("2", nil, pod("a", "u1", "10.0.0.1"), pod("b", "u2", "10.0.0.2"), scheduled("c", "u3"), scheduled("d", "u4"))
	w.wants("envoy ", "maps 10.0.0.1,10.0.0.2", "attach default/b to 12", "saved 2")
	held, _ := w.podStarts("c", "u3", "10.0.0.3")
	w.answered(held, inForceReply)
	if n := testutil.ToFloat64(w.metrics.lateTotal); n != 0 {
		t.Errorf("%v pods seen late, want none", n)
	}
	w.updates <- update("3", nil, pod("a", "u1", "10.0.0.1"), pod("b", "u2", "10.0.0.2"), pod("c", "u3", "10.0.0.3"), pod("d", "u4", "10.0.0.4"))
	w.eventually("saved", func() string {
		if !slices.Contains(w.did, "saved 3") {
			return "not yet"
		}
		return ""
	})
	if n := testutil.ToFloat64(w.metrics.lateTotal); n != 1 {
		t.Errorf("%v pods seen late, want one", n)
	}
	if n := testutil.CollectAndCount(w.metrics.heldSeconds); n != 1 {
		t.Errorf("%d kinds of outcome, want one", n)
	}
}
