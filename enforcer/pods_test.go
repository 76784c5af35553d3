package enforcer

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/xds/septumpb"
)

func TestPods(t *testing.T) {
	w := newWorld(t)
	w.run()
	// A pod whose interface comes after the policy.
	w.updates <- update("1", nil, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy ", "maps 10.0.0.1", "saved 1")
	w.set(func() { w.veths["10.0.0.1"] = veth(11) })
	w.wants("attach default/p to 11")
	// It cannot be found just now: its programs stay.
	w.set(func() { w.failing["find"] = errFake })
	w.changed <- struct{}{}
	w.reported("a problem", hasProblem("NoInterface"))
	w.set(func() { delete(w.failing, "find") })
	w.reported("no problem", isInForce("1"))
	// The same name and address come to another pod.
	w.set(func() { w.veths["10.0.0.1"] = veth(12) })
	w.updates <- update("2", nil, pod("p", "u2", "10.0.0.1"))
	w.wants("envoy ", "detach 11", "maps 10.0.0.1", "attach default/p to 12", "saved 2")
	// The interface goes before the policy says so.
	w.set(func() { delete(w.veths, "10.0.0.1") })
	w.changed <- struct{}{}
	w.wants("detach 12")
	w.reported("a problem", hasProblem("NoInterface"))
}

func TestPodsThatCannotBeEnforced(t *testing.T) {
	w := newWorld(t)
	host, unpoliced := pod("host", "u1", "10.0.0.1"), pod("unpoliced", "u2", "10.0.0.2")
	host.HostNetwork, unpoliced.Ingress = true, ""
	w.veths["10.0.0.1"], w.veths["10.0.0.2"], w.veths["10.0.0.3"], w.veths["10.0.0.4"] = veth(11), veth(12), veth(13), veth(13)
	w.run()
	w.updates <- update("1", nil, host, unpoliced, pod("first", "u3", "10.0.0.3"), pod("second", "u4", "10.0.0.4"))
	w.wants("envoy ", "maps 10.0.0.3,10.0.0.4", "attach default/first to 13", "saved 1")
	w.reported("both problems", func(r *septumpb.NodeReport) bool {
		return len(r.Problems) == 2 && r.Problems[0].Endpoint == "default/host" && r.Problems[0].Reason == "HostNetwork" &&
			r.Problems[1].Endpoint == "default/second" && r.Problems[1].Reason == "AddressConflict"
	})
	want := map[int][]netip.Addr{
		12: {netip.MustParseAddr("10.0.0.2")}, 13: {netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4")},
	}
	w.set(func() {
		if !reflect.DeepEqual(w.owners, want) {
			t.Errorf("the owners of addresses are %v, want %v", w.owners, want)
		}
	})
	w.set(func() { w.failing["find"] = links.ErrNoVeth })
	w.changed <- struct{}{}
	w.reported("the kind of interface", hasProblem("UnsupportedInterface"))
}
