package enforcer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/septum-dev/septum/enforcer/cni"
)

// A pod that the CNI plugin holds starts when its policy is in force, which takes two
// things: the operator's word that it knows the pod (an endpoint with this UID; pods get
// one as soon as they are scheduled), and the pod's addresses, which the plugin knows
// before the operator does.

// Started is a pod whose addresses the CNI plugin has told, until the operator tells them too.
type Started struct {
	Key, UID string
	Addrs    []netip.Addr
	// Before are the addresses that the operator said when the plugin came: those of an
	// earlier sandbox of the same pod.
	Before []netip.Addr `json:",omitempty"`
}

func (s Started) id() podID { return podID{s.Key, s.UID} }

// starts are the pods that are about to start, or have just done so.
type starts struct {
	waiting []waitingPod
	// started are those whose addresses the plugin has told.
	started map[podID]Started
	// young are policed pods that have appeared since this run's first policy, and have no
	// programs yet.
	young map[podID]bool
	// saved are those on disk; changed says that started, or something else, is not in the maps yet.
	saved   []Started
	changed bool
}

type waitingPod struct {
	pod   *cni.Pod
	since time.Time
}

func (w waitingPod) id() podID { return podID{w.pod.Key(), w.pod.UID} }

func newStarts() starts {
	return starts{started: map[podID]Started{}, young: map[podID]bool{}}
}

// podStarts takes a pod that the plugin holds. Whatever had its addresses before has given
// them back.
func (e *Enforcer) podStarts(p *cni.Pod) {
	w := waitingPod{p, e.config.Now()}
	for _, other := range e.starts.waiting {
		if other.id() == w.id() {
			other.pod.Reply(cni.Reply{Error: "the pod was asked for again"})
		}
	}
	e.starts.waiting = slices.DeleteFunc(e.starts.waiting, func(other waitingPod) bool { return other.id() == w.id() })
	e.starts.waiting = append(e.starts.waiting, w)
	s := Started{Key: p.Key(), UID: p.UID, Addrs: sortedAddrs(p.Addresses)}
	if ep, ok := endpointIn(e.force.told, s.id()); ok {
		s.Before = sortedAddrs(ep.Addrs)
	}
	for id, other := range e.starts.started {
		if slices.ContainsFunc(other.Addrs, func(a netip.Addr) bool { return slices.Contains(s.Addrs, a) }) {
			delete(e.starts.started, id)
		}
	}
	e.starts.started[s.id()] = s
	e.starts.changed = true
}

// settle brings what the plugin told into the data path, and answers for the pods whose
// policy is in force.
func (e *Enforcer) settle() {
	e.giveUp()
	if e.starts.changed && e.force.known && e.failed == nil {
		e.apply()
	}
	var still []waitingPod
	for _, w := range e.starts.waiting {
		outcome, reply := e.startOf(w)
		if outcome == "" {
			still = append(still, w)
			continue
		}
		e.config.Metrics.held(outcome, e.config.Now().Sub(w.since))
		w.pod.Reply(reply)
	}
	e.starts.waiting = still
}

// giveUp forgets the pods that the plugin has stopped to wait for: they do not start.
func (e *Enforcer) giveUp() {
	e.starts.waiting = slices.DeleteFunc(e.starts.waiting, func(w waitingPod) bool {
		select {
		case <-w.pod.Gone:
		default:
			return false
		}
		e.config.Log.Info("pod not started: its policy was not in force in time", "endpoint", w.pod.Key())
		e.config.Metrics.held(heldGone, e.config.Now().Sub(w.since))
		delete(e.starts.started, w.id())
		e.starts.changed = true
		return true
	})
}

// What becomes of a pod that the plugin holds.
const (
	heldInForce    = "in_force"
	heldUnselected = "unselected"
	heldRefused    = "refused"
	heldGone       = "gone"
)

// startOf says whether a pod may start; "" is not yet.
func (e *Enforcer) startOf(w waitingPod) (string, cni.Reply) {
	ep, known := endpointIn(e.force.policy, w.id())
	if !e.force.known || !known || e.starts.changed || e.failed != nil {
		return "", cni.Reply{}
	}
	if !ep.Policed() {
		return heldUnselected, cni.Reply{OK: true}
	}
	if p := e.pods.problems[w.id()]; p.reason == reasonNoVeth || p.reason == reasonConflict {
		return heldRefused, cni.Reply{Error: p.message}
	}
	for _, a := range e.pods.attached {
		if a.id != w.id() || !sameAddrs(a.link.Addrs, ep.Addrs) {
			continue
		}
		// What is in force must stay so through a restart: the operator may not know the
		// addresses by then.
		if err := e.saveStarts(); err != nil {
			return heldRefused, cni.Reply{Error: err.Error()}
		}
		return heldInForce, cni.Reply{OK: true, Policed: true}
	}
	return "", cni.Reply{}
}

// apply writes the operator's policy and the plugin's addresses into the data path.
func (e *Enforcer) apply() {
	np := e.withStarts(e.withLearnt(e.force.told))
	err := e.write(np, e.force.numbers)
	e.outcome("MapsNotWritten", err)
	if err != nil {
		return // settle tries again
	}
	e.endOthers()
	e.holds(np)
	e.syncPods(false)
}

// countLate counts a pod that got its programs after it had begun, though its policy was
// there before it.
func (e *Enforcer) countLate(id podID) {
	young := e.starts.young[id]
	delete(e.starts.young, id)
	if _, held := e.starts.started[id]; young && !held {
		e.config.Metrics.late()
		e.config.Log.Info("pod seen late: no plugin held it until its policy was in force", "endpoint", id.key)
	}
}
