package enforcer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/septum-dev/septum/enforcer/names"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/wire"
)

// What the DNS told pods of the names that policies name is learnt before the pods have the
// answers: the proxy holds them until Known is called.

// Lookup is an answer that the proxy holds.
type Lookup struct {
	wire.Lookup
	// Known lets the answer go to the pod. It does not block.
	Known func()
}

const (
	// lookupsAtOnce is how many lookups one change of the maps is for.
	lookupsAtOnce = 256
	// namesTicks is how many ticks lie between looks for what has expired, and between saves.
	namesTicks = 10
	// reasonNames says that addresses of names stay closed because there are too many.
	reasonNames = "TooManyNames"
	// reasonNamesLost says that what is learnt would not outlive the enforcer.
	reasonNamesLost = "NamesNotSaved"
)

// namebook is what the pods of the node have learnt.
type namebook struct {
	book *names.Book
	// learner says what may be learnt, by the policy in force; nil before there is one.
	learner *policy.Learner
	// pods are the policed endpoints, by address.
	pods map[netip.Addr]namedPod
	// served are the classes that the proxies have, with those of learnt addresses.
	served map[policy.ClassID]bool
	// waiting are lookups whose classes the proxies are being given.
	waiting []Lookup
	// unsaved says that the disk does not have the latest ends.
	unsaved bool
}

type namedPod struct {
	uid   string
	table policy.TableID
}

// withLearnt is np with what its pods have learnt.
func (e *Enforcer) withLearnt(np policy.NodePolicy) policy.NodePolicy {
	if e.names.book.Len() == 0 {
		return policy.WithLearnt(np, nil)
	}
	tables := make(map[string]policy.TableID, len(np.Endpoints))
	for _, ep := range np.Endpoints {
		tables[ep.UID] = ep.Egress
	}
	return policy.WithLearnt(np, e.names.book.Learnt(func(uid string) policy.TableID { return tables[uid] }))
}

// meetNames takes the policy that is in force now, and forgets what no pod of it can use.
func (e *Enforcer) meetNames() {
	np := e.withStarts(e.force.told)
	e.names.learner, e.names.pods = policy.NewLearner(np), map[netip.Addr]namedPod{}
	uids := map[string]bool{}
	for _, ep := range np.Endpoints {
		uids[ep.UID] = true
		for _, a := range ep.Addrs {
			if ep.Egress != "" && !ep.HostNetwork {
				e.names.pods[a.Unmap()] = namedPod{ep.UID, ep.Egress}
			}
		}
	}
	e.names.served = map[policy.ClassID]bool{}
	for _, c := range e.force.served.Classes {
		e.names.served[c.ID] = true
	}
	wants := map[string]bool{}
	gone := e.names.book.Keep(func(uid, name string) bool {
		want, asked := wants[name]
		if !asked {
			want = e.names.learner.Wants(name)
			wants[name] = want
		}
		return want && uids[uid]
	})
	e.names.unsaved = e.names.unsaved || gone > 0
}

// learn takes a lookup and those that wait behind it.
func (e *Enforcer) learn(first Lookup) {
	batch := []Lookup{first}
	for len(batch) < lookupsAtOnce {
		select {
		case l := <-e.config.Inputs.Lookups:
			batch = append(batch, l)
			continue
		default:
		}
		break
	}
	now := e.config.Now()
	var fresh []names.Fact
	var held []Lookup
	for _, l := range batch {
		facts := e.learnOne(now, l)
		if len(facts)+len(held)+len(e.names.waiting) == 0 {
			l.Known()
			continue
		}
		fresh, held = append(fresh, facts...), append(held, l)
	}
	if len(held) == 0 {
		return
	}
	e.outcome(reasonNamesLost, e.config.Store.AppendNames(fresh))
	e.names.waiting = append(e.names.waiting, held...)
	e.showNames()
}

// learnOne notes what one lookup says, and returns what is new.
func (e *Enforcer) learnOne(now time.Time, l Lookup) []names.Fact {
	pod, ok := e.names.pods[l.Client.Unmap()]
	if !ok || !e.names.learner.Wants(l.Name) {
		return nil
	}
	told := names.Told{Pod: l.Client.Unmap(), UID: pod.uid, Name: l.Name, TTL: l.TTL}
	for _, a := range l.Addrs {
		if reason := e.names.learner.Refuses(a); reason != "" {
			e.config.Metrics.notLearnt(reason, 1)
			e.config.Log.V(1).Info("address not learnt", "name", l.Name, "address", a.String(), "pod", l.Client.String(), "reason", reason)
			continue
		}
		told.Addrs = append(told.Addrs, a)
	}
	fresh, refused := e.names.book.Learn(now, told)
	e.names.unsaved = e.names.unsaved || len(told.Addrs) > 0
	if refused > 0 {
		e.config.Metrics.notLearnt("too many", refused)
		e.problem(reasonNames, fmt.Errorf("a pod has been told more than %d addresses of names, or the node's pods more than %d: those beyond stay closed", names.MaxPerPod, names.MaxAll))
	}
	return fresh
}

// showNames brings what has been learnt into the maps, and lets the answers go that wait for
// it. Where it needs classes that the proxies do not have, it becomes a change of its own.
func (e *Enforcer) showNames() {
	e.config.Metrics.learnt(e.names.book.Len())
	if !e.force.known {
		e.letGo()
		return
	}
	np := e.withStarts(e.withLearnt(e.force.told))
	if !e.servedAll(np) {
		e.again()
		return
	}
	err := e.write(np, e.force.numbers)
	e.outcome("MapsNotWritten", err)
	if err != nil {
		return // the tick tries again
	}
	e.force.policy = np
	e.know(np)
	e.letGo()
}

// shown says that np, with all that has been learnt, is in the maps.
func (e *Enforcer) shown(np policy.NodePolicy) {
	if !e.servedAll(np) {
		e.again()
		return
	}
	e.letGo()
}

func (e *Enforcer) servedAll(np policy.NodePolicy) bool {
	return !slices.ContainsFunc(np.Classes, func(c policy.Class) bool { return !e.names.served[c.ID] })
}

// again has the newest update enforced anew, as with what has been learnt it needs more.
func (e *Enforcer) again() {
	if e.next != nil || e.change != nil || e.failed != nil {
		return // what comes takes it along, or the tick comes back to it
	}
	update := e.last
	if e.refused != nil {
		update = *e.refused
	}
	e.next, e.force.seenNode = &update, ""
}

// letGo lets the answers go that have been waiting.
func (e *Enforcer) letGo() {
	for _, l := range e.names.waiting {
		l.Known()
	}
	e.names.waiting = nil
}

// loadNames takes over what the last run's pods were told.
func (e *Enforcer) loadNames() {
	saved, err := e.config.Store.LoadNames()
	e.outcome("NamesUnreadable", err)
	e.names.book = names.Restore(e.config.Now(), saved)
}

// namesTick forgets what has expired and nobody is connected to, and saves the rest.
func (e *Enforcer) namesTick() {
	if len(e.names.waiting) > 0 {
		e.showNames()
	}
	if e.ticks%namesTicks != 0 {
		return
	}
	if now := e.config.Now(); e.force.known && e.names.book.Expired(now) {
		e.expireNames(now)
	}
	if !e.names.unsaved {
		return
	}
	err := e.config.Store.SaveNames(e.names.book.Facts())
	e.outcome(reasonNamesLost, err)
	e.names.unsaved = err != nil
}

func (e *Enforcer) expireNames(now time.Time) {
	used, err := e.config.Datapath.InUse()
	e.outcome("ConnectionsNotRead", err)
	if err != nil {
		return
	}
	inUse := make(map[namedUse]bool, len(used))
	for _, u := range used {
		if pod, ok := e.names.pods[u.Pod]; ok {
			inUse[namedUse{pod.uid, u.Peer}] = true
		}
	}
	gone := e.names.book.Expire(now, func(uid string, addr netip.Addr) bool { return inUse[namedUse{uid, addr}] })
	if gone == 0 {
		return
	}
	e.names.unsaved = true
	delete(e.problems, reasonNames)
	e.config.Metrics.learnt(e.names.book.Len())
	e.apply()
}

type namedUse struct {
	uid  string
	addr netip.Addr
}

// lookedUp takes what the proxy holds.
func (e *Enforcer) lookedUp(ctx context.Context, l Lookup) {
	e.learn(l)
	e.advance(ctx)
}
