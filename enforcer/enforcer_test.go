package enforcer

import (
	"context"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

func ref(name string) policy.Ref {
	return policy.Ref{Kind: "L7NetworkPolicy", Namespace: "default", Name: name}
}

func rule(name string) policy.RuleID {
	return policy.RuleID{Policy: ref(name), Path: "spec.ingress[0]"}
}

// update is a policy of the given classes, one table and the given endpoints: "name/uid=address".
func update(version string, classes []string, endpoints ...policy.EndpointPolicy) xds.Update {
	np := policy.NodePolicy{Node: "n", Endpoints: endpoints}
	table := policy.Table{ID: "t", DefaultDeny: true}
	for i, c := range classes {
		np.Classes = append(np.Classes, policy.Class{ID: policy.ClassID(c), HTTP: []policy.HTTPRule{{ID: rule(c)}}})
		table.Entries = append(table.Entries, policy.Entry{
			Identity: policy.Identity(300 + i), Protocol: policy.ProtocolTCP, Port: 80, PrefixLen: 16,
			Verdict: policy.Redirected, Class: policy.ClassID(c), Rules: []policy.RuleID{rule(c)},
		})
	}
	np.Tables = []policy.Table{table}
	return xds.Update{NodePolicy: np, NodeVersion: version, ClusterVersion: "c" + version}
}

func pod(name, uid, addr string) policy.EndpointPolicy {
	return policy.EndpointPolicy{Key: "default/" + name, UID: uid, Addrs: []netip.Addr{netip.MustParseAddr(addr)}, Ingress: "t"}
}

func veth(ifindex int) links.Link { return links.Link{Ifindex: ifindex, MTU: 1500} }

func isInForce(version string) func(*septumpb.NodeReport) bool {
	return func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == version && r.ClusterVersion == "c"+version && len(r.Problems) == 0
	}
}

func hasProblem(reason string) func(*septumpb.NodeReport) bool {
	return func(r *septumpb.NodeReport) bool {
		return slices.ContainsFunc(r.Problems, func(p *septumpb.NodeProblem) bool { return p.Reason == reason })
	}
}

// What is added is in Envoy before it is in the maps; what is removed leaves the maps first.
func TestOrderOfChange(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"], w.veths["10.0.0.2"] = veth(11), veth(12)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy a", "maps 10.0.0.1", "attach default/p to 11", "saved 1")
	w.reported("1 in force", isInForce("1"))

	w.updates <- update("2", []string{"b"}, pod("q", "u2", "10.0.0.2"))
	w.wants("envoy a,b", "detach 11", "maps 10.0.0.2", "attach default/q to 12", "saved 2", "envoy b")
	w.reported("2 in force", isInForce("2"))

	w.updates <- update("2", []string{"b"}, pod("q", "u2", "10.0.0.2"))
	w.updates <- update("3", nil)
	w.wants("envoy b", "detach 12", "maps ", "saved 3", "envoy ")
}

// The second of two updates that come while Envoy is asked replaces a third.
func TestUpdatesWhileEnvoyIsAsked(t *testing.T) {
	w := newWorld(t)
	release := make(chan struct{})
	w.answer = func(ctx context.Context, _ []string) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	w.run()
	w.updates <- update("1", []string{"a"})
	w.wants("envoy a")
	w.updates <- update("2", []string{"b"})
	w.updates <- update("3", []string{"c"})
	w.updates <- update("3", []string{"c"}) // by now the loop has taken 3
	close(release)
	w.wants("maps ", "saved 1", "envoy a,c", "maps ", "saved 3", "envoy c")
}

func TestEnvoyRefuses(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"], w.veths["10.0.0.2"] = veth(11), veth(12)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	w.took()
	w.set(func() {
		w.answer = func(_ context.Context, classes []string) error {
			if slices.Contains(classes, "bad") {
				return errFake
			}
			return nil
		}
	})
	// The classes and tables stay; the addresses and pods are the new ones.
	bad := update("2", []string{"bad"}, pod("p", "u1", "10.0.0.1"), pod("q", "u2", "10.0.0.2"))
	bad.NodePolicy.Addresses = []policy.Address{{Prefix: netip.MustParsePrefix("10.0.0.9/32"), Identity: 300}}
	w.updates <- bad
	w.wants("envoy a,bad", "maps 10.0.0.1,10.0.0.2", "attach default/q to 12")
	w.reported("a problem, and 1 still the version", func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == "1" && r.ClusterVersion == "c2" && hasProblem("ProxyRefused")(r)
	})
	w.eventually("the new addresses written, and the old table", func() string {
		if len(w.written.Addresses) == 1 && len(w.written.Tables) == 1 && w.written.Tables[0].Class != 0 && w.stored.NodeVersion == "1" {
			return ""
		}
		return "something else"
	})
	// Only who is who changes: Envoy is not asked for what it refused.
	bad.ClusterVersion = "c3"
	w.updates <- bad
	w.wantsInAnyOrder("envoy a", "maps 10.0.0.1,10.0.0.2")
	// A table that is not in force closes its endpoint.
	worse := update("4", []string{"bad"}, pod("p", "u1", "10.0.0.1"), pod("r", "u3", "10.0.0.3"))
	worse.NodePolicy.Endpoints[1].Ingress = "other"
	w.updates <- worse
	w.wants("envoy a,bad", "detach 12", "maps 10.0.0.1,10.0.0.3")
	w.eventually("the endpoint closed", func() string {
		last := w.written.Endpoints[1]
		for _, e := range w.written.Tables {
			if e.Table == last.Ingress {
				return "it has entries"
			}
		}
		if last.Ingress == 0 {
			return "it is not policed"
		}
		return ""
	})
	// What Envoy takes ends the problem.
	w.updates <- update("5", []string{"good"}, pod("p", "u1", "10.0.0.1"))
	w.wants("envoy a,good", "maps 10.0.0.1", "saved 5", "envoy a,good")
	w.reported("5 in force", isInForce("5"))
}

// Another Envoy is given what the last one refused.
func TestEnvoyRefusesAndIsReplaced(t *testing.T) {
	w := newWorld(t)
	w.answer = func(context.Context, []string) error { return errFake }
	w.run()
	w.updates <- update("1", []string{"a"})
	w.wants("envoy a", "maps ")
	w.reported("a problem", hasProblem("ProxyRefused"))
	w.set(func() { w.connected = false })
	w.envoy <- struct{}{}
	w.envoy <- struct{}{}
	w.set(func() {
		w.connected = true
		w.answer = func(context.Context, []string) error { return nil }
	})
	w.envoy <- struct{}{}
	w.wants("envoy a", "maps ", "saved 1")
	w.reported("1 in force", isInForce("1"))
}

// Without Envoy the maps are written at once: what is denied is denied.
func TestEnvoyIsNotThere(t *testing.T) {
	w := newWorld(t)
	w.connected = false
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force without the proxy", func(r *septumpb.NodeReport) bool { return isInForce("1")(r) && !r.ProxyReady })
	w.wantsInAnyOrder("attach default/p to 11", "envoy a", "maps 10.0.0.1", "saved 1")
}

func TestEnvoyHangs(t *testing.T) {
	w := newWorld(t)
	w.ackTimeout = 100 * time.Millisecond
	w.answer = func(ctx context.Context, _ []string) error { <-ctx.Done(); return ctx.Err() }
	w.run()
	w.updates <- update("1", []string{"a"})
	w.wants("envoy a", "maps ", "saved 1")
	w.reported("a problem", hasProblem("ProxyNotAnswering"))
}

// Nothing is redirected before somebody listens; but denying does not wait for long.
func TestEnvoyAcknowledgesBeforeItListens(t *testing.T) {
	w := newWorld(t)
	w.deaf = true
	w.run()
	w.updates <- update("1", []string{"a"})
	w.wants("envoy a")
	time.Sleep(50 * time.Millisecond)
	if did := w.took(); len(did) != 0 {
		t.Errorf("done while nobody listens: %q", did)
	}
	w.set(func() { w.deaf = false })
	w.wants("maps ", "saved 1")
	w.set(func() { w.deaf = true })
	w.updates <- update("2", []string{"b"})
	w.wants("envoy a,b", "maps ", "saved 2", "envoy b")
}

func TestMapsCannotBeWritten(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.failing["maps"] = errFake
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("a problem and no version", func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == "" && hasProblem("MapsNotWritten")(r)
	})
	w.wants("envoy a")
	w.set(func() { delete(w.failing, "maps") })
	w.wants("maps 10.0.0.1", "attach default/p to 11", "saved 1")
	w.reported("1 in force", isInForce("1"))
}

// After a restart the stored policy holds before anybody is asked, with the same numbers;
// programs stay where they are, and those that no pod needs go.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	stop := w.run()
	w.updates <- update("1", []string{"a", "b"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	stop()
	w.took()
	before := w.written
	w.attached = append(w.attached, 99)
	w.veths["10.0.0.99"] = veth(99)
	w.connected = false
	w.run()
	w.reported("1 in force", isInForce("1"))
	w.wantsInAnyOrder("attach default/p to 11", "detach 99", "envoy a,b", "maps 10.0.0.1", "saved 1")
	if !slices.Equal(before.Tables, w.written.Tables) || len(before.Tables) != 2 {
		t.Errorf("tables before the restart %v, after it %v", before.Tables, w.written.Tables)
	}
	// The operator says the same again.
	w.updates <- update("1", []string{"a", "b"}, pod("p", "u1", "10.0.0.1"))
	w.updates <- update("2", []string{"a", "b"}, pod("p", "u1", "10.0.0.1"))
	w.eventually("2 saved", func() string {
		if slices.Contains(w.did, "saved 1") || !slices.Contains(w.did, "saved 2") {
			return "not"
		}
		return ""
	})
}

// A pod that no program can be attached to does not keep an earlier run's programs where
// no pod needs them; one that is not found yet does.
func TestRestartWithProgramsThatNobodyNeeds(t *testing.T) {
	w := newWorld(t)
	host := pod("host", "u2", "10.0.0.2")
	host.HostNetwork = true
	w.attached = []int{99}
	w.veths["10.0.0.99"] = veth(99)
	w.run()
	w.updates <- update("1", nil, pod("p", "u1", "10.0.0.1"), host)
	w.wants("envoy ", "maps 10.0.0.1", "saved 1")
	w.set(func() { w.veths["10.0.0.1"] = veth(11) })
	w.wants("attach default/p to 11", "detach 99")
}

// With no stored state and no operator nothing is touched.
func TestNothingKnown(t *testing.T) {
	w := newWorld(t)
	w.attached = []int{11}
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.changed <- struct{}{}
	w.changed <- struct{}{}
	w.changed <- struct{}{}
	if did := w.took(); len(did) != 0 {
		t.Errorf("done: %q", did)
	}
}

// What is open when programs are attached first is judged; nothing is cut when they are
// only attached again.
func TestOpenConnections(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	conn := func(local, remote string, accepted bool) links.Connection {
		return links.Connection{Local: netip.MustParseAddrPort(local), Remote: netip.MustParseAddrPort(remote), Accepted: accepted}
	}
	w.open = []links.Connection{
		conn("10.0.0.1:80", "10.0.0.7:4000", true),   // redirected
		conn("10.0.0.1:443", "10.0.0.7:4001", true),  // denied
		conn("10.0.0.1:80", "10.0.0.8:4000", true),   // allowed
		conn("10.0.0.1:4000", "10.0.0.7:443", false), // egress is not policed
	}
	u := update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	u.NodePolicy.Tables[0].Entries = append(u.NodePolicy.Tables[0].Entries, policy.Entry{
		Identity: 400, Verdict: policy.Forwarded, Rules: []policy.RuleID{rule("l4")},
	})
	u.NodePolicy.Addresses = []policy.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.7/32"), Identity: 300}, {Prefix: netip.MustParsePrefix("10.0.0.8/32"), Identity: 400},
	}
	stop := w.run()
	w.updates <- u
	w.wants("envoy a", "maps 10.0.0.1", "cut 10.0.0.7:4001", "attach default/p to 11", "cut 10.0.0.7:4000", "cut 10.0.0.7:4001", "saved 1")
	stop()
	w.connected = false
	w.run()
	w.wantsInAnyOrder("envoy a", "maps 10.0.0.1", "attach default/p to 11", "saved 1")
}

func TestCounters(t *testing.T) {
	w := newWorld(t)
	u := update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	u.NodePolicy.Tables[0].Entries = append(u.NodePolicy.Tables[0].Entries, policy.Entry{
		Identity: 400, Verdict: policy.Forwarded, Rules: []policy.RuleID{rule("l4")},
	})
	w.run()
	w.updates <- u
	w.reported("1 in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == "1" })
	w.set(func() {
		// A redirect is no verdict; a number that is nobody's counts for nobody.
		w.rules[w.numbers.Rules[rule("a")]] = bpf.Counter{Redirected: 7}
		w.rules[w.numbers.Rules[rule("l4")]] = bpf.Counter{Forwarded: 3, Denied: 1, Unjudged: 2}
		w.rules[4711] = bpf.Counter{Forwarded: 5}
	})
	server := netip.MustParseAddrPort("10.0.0.1:80")
	client := netip.MustParseAddrPort("10.0.0.7:4000")
	http := &policy.HTTPEvent{}
	w.requests <- policy.Event{Verdict: policy.Forwarded, Rule: rule("a"), Src: client, Dst: server, HTTP: http}
	w.requests <- policy.Event{Verdict: policy.Denied, Src: client, Dst: server, HTTP: http}
	w.packets <- bpf.Event{Verdict: policy.Denied, Reason: "policy", Src: client, Dst: server}
	w.packets <- bpf.Event{Verdict: policy.Denied, Reason: "policy", Rule: w.numbers.Rules[rule("l4")], Src: client, Dst: server} // in the counters
	w.packets <- bpf.Event{Verdict: policy.Denied, Reason: "spoofed", Src: client, Dst: server}                                   // no policy's doing
	w.packets <- bpf.Event{Verdict: policy.Forwarded, Src: client, Dst: server}
	w.reported("the totals", func(r *septumpb.NodeReport) bool {
		if len(r.Counters) != 2 {
			return false
		}
		a, l4 := r.Counters[0], r.Counters[1]
		return a.Name == "a" && a.Allowed == 1 && a.Denied == 2 && a.LastDenied > 0 &&
			l4.Name == "l4" && l4.Allowed == 3 && l4.Denied == 3 && l4.Unjudged == 2 && l4.LastDenied > 0
	})
}

// TestASilentProxy: an Envoy that hangs is told to the data path, one that only looks for
// an enforcer that has just started is not.
func TestASilentProxy(t *testing.T) {
	w := newWorld(t)
	w.connected = false
	stop := w.run()
	w.envoy <- struct{}{}
	w.envoy <- struct{}{} // the first has been acted upon
	w.wants()
	w.set(func() { w.later = 2 * silentAfter })
	w.envoy <- struct{}{}
	w.wants("Envoy silent: true")
	stop()
	w.run() // what the last run said stands until more is known
	w.envoy <- struct{}{}
	w.envoy <- struct{}{}
	w.wants()
	w.set(func() { w.connected = true })
	w.envoy <- struct{}{}
	w.wants("Envoy silent: false")
}

// TestAPolicyMadeAnew counts from 0.
func TestAPolicyMadeAnew(t *testing.T) {
	c := newCounts()
	ref := rule("a").Policy
	applied := func(uid string) []policy.AppliedPolicy { return []policy.AppliedPolicy{{Ref: ref, UID: uid}} }
	for _, step := range []struct {
		uid  string
		want uint64
	}{{"1", 2}, {"1", 4}, {"2", 2}} {
		c.begin(applied(step.uid))
		c.add([]policy.Ref{ref}, policy.Denied, 2, time.Now())
		if got := c.report()[0]; got.Denied != step.want || got.Uid != step.uid {
			t.Errorf("%d denials of %s, want %d of %s", got.Denied, got.Uid, step.want, step.uid)
		}
	}
}
