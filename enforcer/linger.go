package enforcer

import (
	"cmp"
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
)

// A class that policy no longer leads to may have open connections. Where all that led to it
// leads to one other class now, or to nothing that asks for a proxy, it takes that one's rules
// and its connections go on: what the new policy allows keeps working, and what it denies is
// denied to the next request. New connections do not come to it. After the drain limit Envoy
// ends what is left, by "Connection: close" or GOAWAY where it can.
//
// Connections of the class that the new policy leads elsewhere are reset before the class takes the rules.

// endingTime is how long Envoy has to end the connections of a class that it has lost.
const endingTime = 2 * time.Second

// lingering is a class that has been left behind.
type lingering struct {
	// class has the rules that hold now, under its own ID.
	class policy.Class
	// successor is the class that they are of; "" is none, and everything is allowed.
	successor policy.ClassID
	// pods are those that led to it and that no policy selects any more.
	pods []podID
	// since is when it was left behind, ending when Envoy was told to end what is left.
	since, ending time.Time
}

// left returns what lingers once np is in force.
func (e *Enforcer) left(np policy.NodePolicy) []lingering {
	classes := map[policy.ClassID]policy.Class{}
	for _, c := range np.Classes {
		classes[c.ID] = c
	}
	old := map[policy.ClassID]policy.Class{}
	var gone []policy.ClassID
	for _, c := range e.force.policy.Classes {
		old[c.ID] = c
		if _, stays := classes[c.ID]; !stays {
			gone = append(gone, c.ID)
		}
	}
	fresh := map[policy.ClassID]lingering{}
	for _, id := range gone {
		if !isHTTP(old[id]) {
			continue
		}
		if l, ok := follow(e.force.policy, np, old[id], classes); ok {
			l.since = e.config.Now()
			fresh[id] = l
		}
	}
	var out []lingering
	for _, l := range e.linger {
		if _, used := classes[l.class.ID]; used {
			continue
		}
		if l.successor != "" {
			next, stays := classes[l.successor]
			if f, left := fresh[l.successor]; !stays && left {
				next, l.successor, l.pods = f.class, f.successor, union(l.pods, f.pods)
			} else if !stays {
				continue
			}
			l.class = renamed(next, l.class)
		}
		out = append(out, l)
	}
	for _, l := range fresh {
		out = append(out, l)
	}
	slices.SortFunc(out, func(a, b lingering) int { return cmp.Compare(a.class.ID, b.class.ID) })
	return out
}

func union(a, b []podID) []podID {
	for _, id := range b {
		if !slices.Contains(a, id) {
			a = append(slices.Clone(a), id)
		}
	}
	return a
}

// renamed is a class with the rules of another.
func renamed(rules, as policy.Class) policy.Class {
	rules.ID = as.ID
	return rules
}

// isHTTP says that a class has HTTP rules and nothing else: only such a class can take the
// rules of another.
func isHTTP(c policy.Class) bool {
	return reflect.DeepEqual(c, policy.Class{ID: c.ID, Direction: c.Direction, HTTP: c.HTTP, AllowAll: c.AllowAll, AuditRest: c.AuditRest, AuditAll: c.AuditAll, Audit: c.Audit})
}

// opened is a class that refuses nothing and names no rule.
func opened(class policy.Class) policy.Class {
	return policy.Class{ID: class.ID, Direction: class.Direction, AllowAll: &policy.RuleID{}}
}

// follow finds what most of that which led to a class of old leads to in np. The data path
// lets only those connections go on of which it is so.
func follow(old, np policy.NodePolicy, class policy.Class, classes map[policy.ClassID]policy.Class) (lingering, bool) {
	var tables []policy.Table
	for _, t := range old.Tables {
		if t.Direction == class.Direction && slices.ContainsFunc(t.Entries, func(e policy.Entry) bool { return e.Class == class.ID }) {
			tables = append(tables, t)
		}
	}
	votes := map[policy.ClassID]int{}
	l := lingering{}
	for _, ep := range old.Endpoints {
		i := slices.IndexFunc(tables, func(t policy.Table) bool { return t.ID == tableOf(ep, class.Direction) })
		now, there := endpointIn(np, idOf(ep))
		if i < 0 || !there || now.HostNetwork {
			continue
		}
		id := tableOf(now, class.Direction)
		if id == "" {
			votes[""]++
			if !now.Policed() {
				l.pods = append(l.pods, idOf(ep))
			}
			continue
		}
		n := slices.IndexFunc(np.Tables, func(t policy.Table) bool { return t.ID == id })
		if n < 0 {
			continue
		}
		for _, entry := range tables[i].Entries {
			if entry.Class != class.ID {
				continue
			}
			next, ok := np.Tables[n].Lookup(entry.Identity, entry.Protocol, entry.Port)
			switch {
			case ok && next.Verdict == policy.Redirected:
				votes[next.Class]++
			case ok && (next.Verdict == policy.Forwarded || next.Verdict == policy.Audited), !ok && !np.Tables[n].DefaultDeny:
				votes[""]++
			}
		}
	}
	best, most := policy.ClassID(""), 0
	for id, n := range votes {
		if n > most || n == most && id < best {
			best, most = id, n
		}
	}
	if most == 0 {
		return l, false
	}
	l.successor, l.class = best, opened(class)
	if best != "" {
		next, ok := classes[best]
		if !ok || !isHTTP(next) {
			return l, false
		}
		l.class, l.pods = renamed(next, class), nil
	}
	return l, true
}

func tableOf(ep policy.EndpointPolicy, d policy.Direction) policy.TableID {
	if d == policy.Egress {
		return ep.Egress
	}
	return ep.Ingress
}

// lingeringClasses are the classes that Envoy still has of those left behind.
func lingeringClasses(all []lingering) []policy.Class {
	var out []policy.Class
	for _, l := range all {
		if l.ending.IsZero() {
			out = append(out, l.class)
		}
	}
	return out
}

// withLingering adds to the maps' state what lingers: classes that have successors, and pods
// that no policy selects any more and whose connections the programs still lead to the proxy.
func withLingering(s bpf.State, np policy.NodePolicy, n policy.Numbers, all []lingering) bpf.State {
	taken := map[string]bool{}
	for _, e := range s.Endpoints {
		taken[e.Addr.String()] = true
	}
	for _, l := range all {
		port := n.Classes[l.class.ID]
		next := n.Classes[l.successor]
		if port == 0 || l.successor != "" && next == 0 {
			continue
		}
		s.Successors = append(s.Successors, bpf.SuccessorEntry{Class: port, Successor: next})
		for _, id := range l.pods {
			ep, there := endpointIn(np, id)
			if !there || ep.Policed() {
				continue
			}
			for _, a := range ep.Addrs {
				if !taken[a.Unmap().String()] {
					taken[a.Unmap().String()] = true
					s.Endpoints = append(s.Endpoints, bpf.UnpolicedEndpoint(a, ep.UID))
				}
			}
		}
	}
	slices.SortFunc(s.Endpoints, bpf.EndpointEntry.Compare)
	slices.SortFunc(s.Successors, bpf.SuccessorEntry.Compare)
	return s
}

// lingers says whether a pod's programs stay, though no policy selects it.
func (e *Enforcer) lingers(id podID) bool {
	return slices.ContainsFunc(e.linger, func(l lingering) bool { return slices.Contains(l.pods, id) })
}

func classesOf(all []lingering) []policy.Class {
	out := make([]policy.Class, 0, len(all))
	for _, l := range all {
		out = append(out, l.class)
	}
	return out
}

// write brings np and what lingers into the maps.
func (e *Enforcer) write(np policy.NodePolicy, n policy.Numbers) error {
	return e.config.Datapath.Apply(withLingering(bpf.Entries(np, n), np, n, e.linger))
}

// lingered takes Envoy's answer to what was committed. Where it has not taken the rules of
// what lingers, nothing may linger: the connections are reset.
func (e *Enforcer) lingered(err error) {
	if err != nil && len(e.linger) > 0 && !notConnected(err) && !errors.Is(err, context.Canceled) {
		e.linger = nil
		e.apply()
	}
	e.inForce()
}

// drain ends what has lingered for long enough.
func (e *Enforcer) drain(ctx context.Context) {
	if e.change != nil || e.failed != nil || len(e.linger) == 0 {
		return
	}
	now := e.config.Now()
	ends, gone := false, false
	var still []lingering
	for _, l := range e.linger {
		switch {
		case l.ending.IsZero() && now.Sub(l.since) >= e.config.DrainLimit:
			l.ending, ends = now, true
		case !l.ending.IsZero() && now.Sub(l.ending) >= endingTime:
			gone = true
			continue
		}
		still = append(still, l)
	}
	e.linger = still
	if ends {
		set, err := e.setsFor(withClasses(e.force.served, lingeringClasses(e.linger)), e.force.numbers)
		e.outcome("ClassWithoutListener", err)
		e.startAsk(ctx, set, nil)
	}
	if gone {
		e.apply()
		e.detachUnpoliced(e.force.policy)
	}
}
