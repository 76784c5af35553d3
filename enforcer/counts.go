package enforcer

import (
	"net/netip"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
)

// counts are the verdicts of every policy since the enforcer started.
//
// A connection that a rule on layers 3 and 4 decided is counted by the BPF programs, a
// request by the proxies' words; the redirect of a connection to Envoy is no verdict. What no
// rule allowed has no rule to name: it counts for every policy that has a rule in the
// endpoint's table, or denies there by default.
type counts struct {
	byPolicy map[policy.Ref]*tally
	// previous are the BPF counters as they were last read: they outlive the enforcer.
	previous map[uint32]bpf.Counter
	drops    map[string]uint64
}

type tally struct {
	// uid is the policy's that is counted; "" until one is in force.
	uid                                string
	allowed, denied, audited, unjudged uint64
	last                               denial
}

func newCounts() counts {
	return counts{byPolicy: map[policy.Ref]*tally{}, previous: map[uint32]bpf.Counter{}, drops: map[string]uint64{}}
}

func (c *counts) of(ref policy.Ref) *tally {
	if c.byPolicy[ref] == nil {
		c.byPolicy[ref] = &tally{}
	}
	return c.byPolicy[ref]
}

// begin has policies that were made anew under an old name count from 0.
func (c *counts) begin(applied []policy.AppliedPolicy) {
	for _, a := range applied {
		switch t := c.of(a.Ref); {
		case t.uid == "":
			t.uid = a.UID
		case t.uid != a.UID:
			c.byPolicy[a.Ref] = &tally{uid: a.UID}
		}
	}
}

func (c *counts) add(refs []policy.Ref, v policy.Verdict, n uint64, at time.Time) {
	for _, ref := range refs {
		t := c.of(ref)
		switch v {
		case policy.Forwarded:
			t.allowed += n
		case policy.Audited:
			t.audited += n
		case policy.Denied:
			t.denied += n
			t.last = t.last.or(denial{at: at.UnixNano()})
		case policy.Redirected:
		}
	}
}

// baseline takes what an earlier run left: its programs, and counters that count from now on.
func (e *Enforcer) baseline() {
	attached, err := e.config.Datapath.Attached()
	e.outcome("ProgramsNotListed", err)
	for _, ifindex := range attached {
		e.pods.adopted[ifindex] = true
	}
	rules, drops, err := e.config.Datapath.Counters()
	e.outcome("CountersNotRead", err)
	if err == nil {
		e.counts.previous, e.counts.drops = rules, drops
	}
}

// readCounters adds what the BPF programs have counted since it was last called.
func (e *Enforcer) readCounters() {
	rules, drops, err := e.config.Datapath.Counters()
	e.outcome("CountersNotRead", err)
	if err != nil {
		return
	}
	now := e.config.Now()
	for number, counter := range rules {
		was := e.counts.previous[number]
		rule, named := e.force.rules[number]
		if n := since(was.Unjudged, counter.Unjudged); n > 0 {
			e.config.Metrics.unjudged(n)
			if named {
				e.counts.of(rule.Policy).unjudged += n
			}
		}
		for v, n := range map[policy.Verdict]uint64{
			policy.Forwarded: since(was.Forwarded, counter.Forwarded),
			policy.Denied:    since(was.Denied, counter.Denied),
			policy.Audited:   since(was.Audited, counter.Audited),
		} {
			if n == 0 {
				continue
			}
			e.config.Metrics.verdicts(kindL4, v, n)
			if named {
				e.counts.add([]policy.Ref{rule.Policy}, v, n, now)
			}
		}
	}
	for reason, n := range drops {
		if reason == bpf.LostEvents {
			e.config.Metrics.lost("bpf", since(e.counts.drops[reason], n))
			continue
		}
		e.config.Metrics.drops(reason, since(e.counts.drops[reason], n))
	}
	e.counts.previous, e.counts.drops = rules, drops
}

// since is how much a counter has grown; one that is lower than before began anew.
func since(was, now uint64) uint64 {
	if now < was {
		return now
	}
	return now - was
}

// request counts what a proxy judged.
func (e *Enforcer) request(ev policy.Event) {
	if ev.HTTP != nil && ev.HTTP.Stage == policy.HTTPEnded {
		return // it was counted when it began
	}
	kind := kindHTTP
	switch {
	case ev.Kafka != nil:
		kind = kindKafka
	case ev.DNS != nil:
		kind = kindDNS
	case ev.HTTP == nil:
		kind = kindTLS
	}
	e.config.Metrics.verdicts(kind, ev.Verdict, 1)
	refs := []policy.Ref{ev.Rule.Policy}
	if ev.Rule == (policy.RuleID{}) {
		refs = e.responsible(ev.Direction, ev.Src.Addr(), ev.Dst.Addr())
	}
	e.counts.add(refs, ev.Verdict, 1, ev.Time)
	if ev.Verdict == policy.Denied {
		e.counts.denied(refs, e.deniedRequest(ev))
		e.config.Log.V(1).Info("request denied", "direction", directionName(ev.Direction), "source", ev.Src.String(), "destination", ev.Dst.String(),
			"kind", kind, "request", asked(ev), "policy", ev.Rule.Policy.Name, "rule", ev.Rule.Path, "reason", ev.DropReason)
	}
}

// reasonPolicy is the reason of an event that a table's verdict made, among [bpf.Reasons].
const reasonPolicy = "policy"

// packet counts what the BPF programs judged without a rule; the others are in their counters,
// and are only described here.
func (e *Enforcer) packet(ev bpf.Event) {
	if ev.Verdict == policy.Denied {
		e.config.Log.V(1).Info("packet denied", "direction", directionName(ev.Direction), "source", ev.Src.String(), "destination", ev.Dst.String(),
			"protocol", ev.Protocol, "rule", e.force.rules[ev.Rule].Path, "reason", ev.Reason)
	}
	refused := ev.Verdict == policy.Denied || ev.Verdict == policy.Audited
	if ev.Rule == 0 && refused && ev.Reason == reasonPolicy {
		e.counts.add(e.responsible(ev.Direction, ev.Src.Addr(), ev.Dst.Addr()), ev.Verdict, 1, e.config.Now())
	}
	if ev.Verdict == policy.Denied && ev.Reason == reasonPolicy {
		refs := e.responsible(ev.Direction, ev.Src.Addr(), ev.Dst.Addr())
		if rule, ok := e.force.rules[ev.Rule]; ok {
			refs = []policy.Ref{rule.Policy}
		}
		e.counts.denied(refs, e.deniedPacket(ev))
	}
}

// responsible are the policies of the table that judged: the server's on
// ingress, the client's on egress.
func (e *Enforcer) responsible(d policy.Direction, src, dst netip.Addr) []policy.Ref {
	addr := dst
	if d == policy.Egress {
		addr = src
	}
	return e.force.responsible[tableAt{addr, d}]
}

type tableAt struct {
	addr      netip.Addr
	direction policy.Direction
}

// responsibleIn returns the policies of every endpoint's tables.
func responsibleIn(np policy.NodePolicy) map[tableAt][]policy.Ref {
	byTable := map[policy.TableID][]policy.Ref{}
	for _, t := range np.Tables {
		seen := map[policy.Ref]bool{}
		for _, ref := range t.Denying {
			seen[ref] = true
			byTable[t.ID] = append(byTable[t.ID], ref)
		}
		for _, entry := range t.Entries {
			for _, rule := range entry.Rules {
				// Where only what audits refuses by default, the others refuse nothing.
				if t.AuditRest {
					break
				}
				if !seen[rule.Policy] {
					seen[rule.Policy] = true
					byTable[t.ID] = append(byTable[t.ID], rule.Policy)
				}
			}
		}
	}
	out := map[tableAt][]policy.Ref{}
	for _, ep := range np.Endpoints {
		for _, addr := range ep.Addrs {
			out[tableAt{addr, policy.Ingress}] = byTable[ep.Ingress]
			out[tableAt{addr, policy.Egress}] = byTable[ep.Egress]
		}
	}
	return out
}

func directionName(d policy.Direction) string {
	if d == policy.Egress {
		return "egress"
	}
	return "ingress"
}
