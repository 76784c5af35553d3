package bpf

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/septum-dev/septum/policy"
)

func (r *runner) node() septumNodeConfig {
	r.t.Helper()
	var n septumNodeConfig
	must(r.t, r.objs.Config.Lookup(uint32(0), &n))
	return n
}

// held reads the policy's maps anew.
func (r *runner) held() *mirror {
	r.t.Helper()
	r.mirror = nil
	must(r.t, r.readMirror())
	return r.mirror
}

func wantHeld(s State) *mirror {
	return &mirror{
		tables:    wanted(s.Tables, TableEntry.kernel),
		addresses: wanted(s.Addresses, AddressEntry.kernel),
		endpoints: wanted(s.Endpoints, EndpointEntry.kernel),
	}
}

func diffHeld(want, got *mirror) string {
	return cmp.Diff(want, got, cmp.AllowUnexported(mirror{}), cmpopts.EquateEmpty(),
		cmp.AllowUnexported(septumAddr{}, septumAddressKey{}, septumTableKey{}, septumTableValue{}, septumEndpoint{}))
}

func TestApply(t *testing.T) {
	r := newRunner(t, pods()...)
	changed := testState()
	changed.Tables = slices.Delete(changed.Tables, 2, 5)
	changed.Tables[0].Verdict = policy.Denied
	changed.Endpoints = changed.Endpoints[1:]
	changed.Addresses[0].Identity = 77
	for i, s := range []State{testState(), changed, {}, testState()} {
		before := r.node().Generation
		r.apply(s)
		if diff := diffHeld(wantHeld(s), r.held()); diff != "" {
			t.Errorf("state %d: -want +got\n%s", i, diff)
		}
		after := r.node().Generation
		if after == before {
			t.Errorf("state %d: the generation is still %d", i, after)
		}
		r.apply(s)
		if again := r.node().Generation; again != after {
			t.Errorf("state %d: the same state again made generation %d of %d", i, again, after)
		}
	}
}

func TestApplyTooMuch(t *testing.T) {
	r := newRunner(t, pods()...)
	r.apply(testState())
	before := r.node()
	s := testState()
	s.Tables[0].Verdict = policy.Denied
	a := addr("10.1.0.0")
	for range int(r.objs.Endpoints.MaxEntries()) {
		s.Endpoints = append(s.Endpoints, EndpointEntry{Addr: a, Number: 1})
		a = a.Next()
	}
	if err := r.Apply(s); !errors.Is(err, ErrFull) {
		t.Errorf("error %v, want ErrFull", err)
	}
	if diff := diffHeld(wantHeld(testState()), r.held()); diff != "" {
		t.Errorf("something was written: -want +got\n%s", diff)
	}
	if r.node() != before {
		t.Errorf("node configuration %+v, want %+v", r.node(), before)
	}
}

// A plan writes what denies first, and removes it last.
func TestOpenness(t *testing.T) {
	order := []policy.Verdict{policy.Denied, policy.Redirected, policy.Forwarded}
	for i := 1; i < len(order); i++ {
		if openness(septumTableValue{Verdict: uint8(order[i-1])}) >= openness(septumTableValue{Verdict: uint8(order[i])}) {
			t.Errorf("%d is not stricter than %d", order[i-1], order[i])
		}
	}
}

func TestHostAddrs(t *testing.T) {
	r := newRunner(t, pods()...)
	s := testState()
	s.Addresses = append(s.Addresses, AddressEntry{Prefix: netip.MustParsePrefix("10.0.0.2/32"), Identity: uint32(policy.IdentityKubeAPIServer)})
	hosts := []netip.Addr{addr("10.0.0.1"), addr("10.0.0.2")}
	check := func(want ...policy.Identity) {
		t.Helper()
		got := r.held().hosts
		for i, a := range hosts {
			if id := got[keyOfAddr(a)]; policy.Identity(id) != want[i] {
				t.Errorf("%v has identity %d, want %d", a, id, want[i])
			}
		}
	}
	must(t, r.SetHostAddrs(hosts))
	check(policy.IdentityHost, policy.IdentityHost)
	r.apply(s)
	check(policy.IdentityHost, policy.IdentityKubeAPIServer)
	r.apply(testState())
	check(policy.IdentityHost, policy.IdentityHost)
	must(t, r.SetHostAddrs(hosts[:1]))
	if got := r.held().hosts; len(got) != 1 {
		t.Errorf("node addresses: %v", got)
	}
}

func TestEventsAndCounters(t *testing.T) {
	r := newRunner(t, pods()...)
	r.apply(testState())
	r.steps([]step{
		toPod("redirected", tcp(l7Peer+":4000", server4+":80", syn), redirect, ""),
		toPod("more of it", tcp(l7Peer+":4000", server4+":80", ack), redirect, ""),
		toPod("forwarded", tcp(l4Peer+":4001", server4+":80", syn), next, ""),
		toPod("denied by a rule", tcp(denyPeer+":4002", server4+":9090", syn), drop, "policy"),
		toPod("denied by default", tcp("["+l4Peer6+"]:4003", "["+server6+"]:81", syn), drop, "policy"),
		toPod("audited", tcp(denyPeer+":4004", audited+":80", syn), next, ""),
		fromPod("egress", udp(client+":4005", outside+":53"), next, ""),
		toPod("not policed", udp(outside+":4006", client+":53"), next, ""),
		fromPod("spoofed", udp("10.0.0.9:4007", outside+":53"), drop, "spoofed"),
		toPod("icmp", icmp(outside, server4, 13, 0), drop, "policy"),
	})
	want := []string{
		"ingress redirected 10.0.1.1:4000>10.0.0.3:80 proto=6 rule=5 class=33001 id=100 ",
		"ingress forwarded 10.0.1.2:4001>10.0.0.3:80 proto=6 rule=6 class=0 id=101 ",
		"ingress denied 10.0.1.3:4002>10.0.0.3:9090 proto=6 rule=3 class=0 id=102 policy",
		"ingress denied [fd00:1::2]:4003>[fd00::3]:81 proto=6 rule=0 class=0 id=101 policy",
		"ingress audited 10.0.1.3:4004>10.0.0.5:80 proto=6 rule=0 class=0 id=102 policy",
		"egress forwarded 10.0.0.4:4005>192.0.2.1:53 proto=17 rule=13 class=0 id=2 ",
		"egress denied 10.0.0.9:4007>192.0.2.1:53 proto=17 rule=0 class=0 id=0 spoofed",
		"ingress denied 192.0.2.1:0>10.0.0.3:3328 proto=1 rule=0 class=0 id=2 policy",
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var got []string
	err := r.Events(ctx, func(e Event) {
		got = append(got, e.String())
		if e.Ifindex != lo || e.Time <= 0 {
			t.Errorf("event %v is of interface %d at %v", e, e.Ifindex, e.Time)
		}
		if len(got) == len(want) {
			cancel()
		}
	})
	must(t, err)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events: -want +got\n%s", diff)
	}
	rules, drops, err := r.Counters()
	must(t, err)
	wantRules := map[uint32]Counter{0: {Denied: 2, Audited: 1}, 3: {Denied: 1}, 5: {Redirected: 1}, 6: {Forwarded: 1}, 13: {Forwarded: 1}}
	if diff := cmp.Diff(wantRules, rules); diff != "" {
		t.Errorf("counters: -want +got\n%s", diff)
	}
	if drops["policy"] != 3 || drops["spoofed"] != 1 || drops[LostEvents] != 0 {
		t.Errorf("drops %v", drops)
	}
	// The counters of rules that are gone go with them.
	r.apply(State{Tables: testState().Tables[:1]})
	rules, _, err = r.Counters()
	must(t, err)
	if _, ok := rules[5]; ok || len(rules) != 1 {
		t.Errorf("counters of a state without rules: %v", rules)
	}
}

func TestLostEventsAreCounted(t *testing.T) {
	r := newRunner(t, pods()...)
	r.apply(testState())
	data := udp("10.0.0.9:4007", outside+":53").bytes() // spoofed: each packet is an event
	const packets = 40000
	if _, err := r.objs.FromPod.Run(&ebpf.RunOptions{Data: data, Repeat: packets, Context: skbContext{IngressIfindex: lo}}); err != nil {
		t.Fatal(err)
	}
	_, drops, err := r.Counters()
	must(t, err)
	if drops["spoofed"] != packets {
		t.Errorf("%d packets were dropped, want %d", drops["spoofed"], packets)
	}
	if lost := drops[LostEvents]; lost == 0 || lost >= packets {
		t.Errorf("%d of %d events were lost", lost, packets)
	}
}

// Pinned maps of another shape are replaced.
func TestOpenOtherLayout(t *testing.T) {
	c := Config{PinPath: filepath.Join(bpffs(t), "septum")}
	d := open(t, c)
	must(t, d.Apply(testState()))
	must(t, d.Close())
	again := open(t, c)
	must(t, again.readMirror())
	if diff := diffHeld(wantHeld(testState()), again.mirror); diff != "" {
		t.Errorf("what was pinned: -want +got\n%s", diff)
	}
	must(t, again.Close())
	pin := filepath.Join(c.withDefaults().maps(), septumMapEndpoints)
	must(t, removePin(pin))
	other, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 8, ValueSize: 8, MaxEntries: 1})
	must(t, err)
	must(t, other.Pin(pin))
	must(t, other.Close())
	fresh := open(t, c)
	must(t, fresh.readMirror())
	if diff := diffHeld(&mirror{}, fresh.mirror); diff != "" {
		t.Errorf("after another layout: -want +got\n%s", diff)
	}
	must(t, fresh.Apply(testState()))
}
