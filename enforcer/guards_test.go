package enforcer

import (
	"reflect"
	"slices"
	"testing"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Pods on a bridge that no policy selects are guarded while one selects another's ingress.
func TestGuards(t *testing.T) {
	w := newWorld(t)
	bridged := func(ifindex int) {
		l := veth(ifindex)
		l.Bridged = true
		w.veths["10.0.0."+string(rune('0'+ifindex))] = l
	}
	bridged(1)
	bridged(2)
	bridged(3)
	w.veths["10.0.0.4"] = veth(4) // not on the bridge
	policed := pod("policed", "u1", "10.0.0.1")
	others := []policy.EndpointPolicy{pod("plain", "u2", "10.0.0.2"), pod("host", "u3", "10.0.0.3"), pod("routed", "u4", "10.0.0.4")}
	for i := range others {
		others[i].Ingress = ""
	}
	others[1].HostNetwork = true
	w.run()
	w.updates <- update("1", nil, append([]policy.EndpointPolicy{policed}, others...)...)
	w.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == "1" })
	w.set(func() {
		if want := []int{2}; !reflect.DeepEqual(w.guarded, want) {
			t.Errorf("guarded: %v, want %v", w.guarded, want)
		}
	})
	policed.Ingress, policed.Egress = "", "t"
	w.updates <- update("2", nil, append([]policy.EndpointPolicy{policed}, others...)...)
	w.reported("the other policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == "2" })
	w.set(func() {
		if len(w.guarded) != 0 {
			t.Errorf("guarded: %v, where nothing is judged by its sender", w.guarded)
		}
	})
}

// What leads out of a policed pod's namespace past its policy is closed, and said to be.
func TestOtherInterfacesAreShut(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"], w.veths["10.0.0.2"] = veth(11), veth(12)
	other := links.Way{Path: "/run/netns/p", Ifindex: 3, Name: "net1", Kind: "macvlan"}
	w.ways = map[string][]links.Way{"10.0.0.1": {other}, "10.0.0.2": {other}}
	plain := pod("plain", "u2", "10.0.0.2")
	plain.Ingress = ""
	w.run()
	w.updates <- update("1", nil, pod("p", "u1", "10.0.0.1"), plain)
	w.reported("the interface", hasProblem("InterfaceClosed"))
	w.set(func() {
		if want := []bpf.PodInterface{{Key: "default/p", NetNS: "/run/netns/p", Ifindex: 3}}; !reflect.DeepEqual(w.shut, want) {
			t.Errorf("shut: %+v, want %+v", w.shut, want)
		}
		if !slices.Contains(w.attached, 11) {
			t.Error("the pod's first interface has no programs")
		}
	})
	unpoliced := pod("p", "u1", "10.0.0.1")
	unpoliced.Ingress = ""
	w.updates <- update("2", nil, unpoliced, plain)
	w.reported("no problem", isInForce("2"))
	w.set(func() {
		if len(w.shut) != 0 {
			t.Errorf("shut: %+v, without a policy", w.shut)
		}
	})
}
