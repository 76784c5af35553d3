package enforcer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/wire"
)

const learner = "10.0.0.1"

// byName is an update in which the pod may connect to port 80 of one pattern, and to another's
// with HTTP rules.
func byName(version string, plain, http policy.NamePattern) xds.Update {
	p := policy.Policy{Ref: ref("names"), UID: "uid", Specs: []policy.Spec{{
		Path: "spec", Subject: policy.Selector{},
		Egress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{
			{ID: rule("names"), Peers: []policy.Peer{{Name: plain}}, Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 80}}},
		}},
	}}}
	if http != "" {
		id := policy.RuleID{Policy: ref("names"), Path: "spec.egress[1].http[0]"}
		p.Specs[0].Egress.Rules = append(p.Specs[0].Egress.Rules, policy.Rule{ID: policy.RuleID{Policy: ref("names"), Path: "spec.egress[1]"},
			Peers: []policy.Peer{{Name: http}}, Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 80}}, L7: &policy.HTTP{Rules: []policy.HTTPRule{{ID: id}}}})
	}
	return xds.Update{NodeVersion: version, ClusterVersion: "c" + version, NodePolicy: policy.Resolve(policy.Snapshot{
		Nodes:      []policy.Node{{Name: "n", Addrs: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}},
		Identities: []policy.IdentityLabels{{Identity: 256, Labels: policy.Labels{"k8s:app": "p"}}},
		Endpoints:  []policy.Endpoint{{Key: "default/p", UID: "u1", Node: "n", Identity: 256, Labels: policy.Labels{"k8s:app": "p"}, Addrs: []netip.Addr{netip.MustParseAddr(learner)}}},
		Policies:   []policy.Policy{p},
	}, "n")}
}

// tell gives the Enforcer a lookup, and returns what is closed when it is known.
func (w *world) tell(name string, ttl time.Duration, addrs ...string) <-chan struct{} {
	known := make(chan struct{})
	l := Lookup{Lookup: wire.Lookup{Client: netip.MustParseAddr(learner), Name: name, TTL: ttl}, Known: func() { close(known) }}
	for _, a := range addrs {
		l.Addrs = append(l.Addrs, netip.MustParseAddr(a))
	}
	w.lookups <- l
	return known
}

func (w *world) known(known <-chan struct{}) {
	w.t.Helper()
	select {
	case <-known:
	case <-time.After(8 * time.Second):
		w.t.Fatal("an answer is held for ever")
	}
}

// learnt are the addresses in the maps that lead to an identity of names.
func (w *world) learnt() string {
	var out []string
	for _, a := range w.written.Addresses {
		if policy.Identity(a.Identity) >= policy.FirstNameIdentity {
			out = append(out, a.Prefix.Addr().String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func (w *world) wantsLearnt(want string) {
	w.t.Helper()
	w.eventually("learnt: "+want, func() string {
		if got := w.learnt(); got != want {
			return fmt.Sprintf("%q", got)
		}
		return ""
	})
}

// wantsLater is wantsLearnt for what is only looked for every few seconds.
func (w *world) wantsLater(want string) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var got string
		if w.set(func() { got = w.learnt() }); got == want {
			return
		}
	}
	w.wantsLearnt(want)
}

// nameWorld is one with a policy of names in force.
func nameWorld(t *testing.T, u xds.Update) *world {
	t.Helper()
	w := newWorld(t)
	w.veths[learner] = veth(11)
	w.run()
	w.updates <- u
	w.reported("in force", isInForce(u.NodeVersion))
	return w
}

// An answer goes when the maps have its addresses, and one that says nothing new goes at once.
func TestAnswersWaitForTheMaps(t *testing.T) {
	w := nameWorld(t, byName("1", "*.example.com", ""))
	w.set(func() { w.failing["maps"] = errFake })
	held := w.tell("www.example.com", time.Minute, "203.0.113.7")
	select {
	case <-held:
		t.Error("an answer went before its addresses were in the maps")
	default:
	}
	w.set(func() { delete(w.failing, "maps") })
	w.known(held)
	w.wantsLearnt("203.0.113.7")
	w.took()
	w.known(w.tell("www.example.com", time.Minute, "203.0.113.7"))
	if did := w.took(); len(did) != 0 {
		t.Errorf("an answer that came again made changes: %q", did)
	}
	w.known(w.tell("www.example.com", time.Minute, "10.0.0.1", "172.18.0.2", "127.0.0.1", "169.254.169.254"))
	w.wantsLearnt("203.0.113.7")
}

// Where two patterns share an address, a class of both is made, and Envoy has it first.
func TestLearntClassComesFirst(t *testing.T) {
	w := nameWorld(t, byName("1", "one.example.com", "*.example.org"))
	w.took()
	w.known(w.tell("www.example.org", time.Minute, "203.0.113.7"))
	w.eventually("one change of the maps", func() string {
		if len(w.did) != 1 || !strings.HasPrefix(w.did[0], "maps ") {
			return fmt.Sprintf("%q", w.did)
		}
		return ""
	})
	w.set(func() { w.updates <- byName("2", "*.example.com", "www.example.com") })
	w.reported("2 in force", isInForce("2"))
	w.took()
	// The address of one name under both rules: allowed by one, so that all requests are, still seen.
	w.known(w.tell("www.example.com", time.Minute, "203.0.113.9"))
	var first string
	w.eventually("Envoy before the maps", func() string {
		if len(w.did) == 0 {
			return "nothing"
		}
		first = w.did[0]
		return ""
	})
	if !strings.HasPrefix(first, "envoy ") {
		t.Errorf("the first that was done is %q, want Envoy's new class", first)
	}
	w.wantsLearnt("203.0.113.9")
}

// An address whose time is over stays while its pod is connected to it, and goes then.
func TestLearntAddressesInUse(t *testing.T) {
	t.Parallel()
	w := nameWorld(t, byName("1", "*.example.com", ""))
	w.known(w.tell("a.example.com", 0, "203.0.113.7"))
	w.known(w.tell("b.example.com", 0, "203.0.113.8"))
	w.set(func() {
		w.used = []bpf.Use{{Pod: netip.MustParseAddr(learner), Peer: netip.MustParseAddr("203.0.113.7")},
			{Pod: netip.MustParseAddr("10.0.0.9"), Peer: netip.MustParseAddr("203.0.113.8")}}
		w.later = 2 * time.Minute
	})
	w.wantsLater("203.0.113.7")
	w.set(func() { w.used = nil })
	w.wantsLater("")
}

// What was told before a restart holds after it, before the operator answers; a policy that
// names less closes it.
func TestLearntThroughRestart(t *testing.T) {
	w := newWorld(t)
	w.veths[learner] = veth(11)
	stop := w.run()
	w.updates <- byName("1", "*.example.com", "")
	w.reported("in force", isInForce("1"))
	w.known(w.tell("a.example.com", time.Minute, "203.0.113.7"))
	stop()
	w.set(func() { w.written = bpf.State{} })
	w.run()
	w.wantsLearnt("203.0.113.7")
	w.updates <- byName("2", "*.example.org", "")
	w.wantsLearnt("")
}
