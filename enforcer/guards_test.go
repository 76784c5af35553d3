package enforcer

import (
	"reflect"
	"testing"

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
