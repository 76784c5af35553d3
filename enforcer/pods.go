package enforcer

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
)

const (
	// podGrace is how long a policed pod may have no interface before that is a problem.
	podGrace = 3 * time.Second
	// podUrgent is how long a pod without interface is looked for every podRetry.
	podUrgent = 10 * time.Second
)

// The reasons why a policed pod is not enforced as it should be.
const (
	reasonHostNetwork = "HostNetwork"
	reasonNoInterface = "NoInterface"
	reasonNoVeth      = "UnsupportedInterface"
	reasonConflict    = "AddressConflict"
	reasonAttach      = "AttachFailed"
)

// podID is one pod: a name is used again, with another UID.
type podID struct{ key, uid string }

func idOf(ep policy.EndpointPolicy) podID { return podID{ep.Key, ep.UID} }

// pods is which programs are where.
type pods struct {
	// wanted are the endpoints that a policy selects in at least one direction.
	wanted []policy.EndpointPolicy
	// local are all the node's pods.
	local []policy.EndpointPolicy
	// since is when an endpoint was first wanted.
	since map[podID]time.Time
	// attached are the programs of this run, by interface.
	attached map[int]attachedPod
	// adopted are interfaces whose programs an earlier run attached, and whose pod has not been found yet.
	adopted map[int]bool
	// problems are by endpoint.
	problems map[podID]podProblem
	urgent   bool
}

type attachedPod struct {
	id   podID
	link bpf.PodLink
	mtu  int
}

type podProblem struct{ reason, message string }

func newPods() pods {
	return pods{since: map[podID]time.Time{}, attached: map[int]attachedPod{}, adopted: map[int]bool{}, problems: map[podID]podProblem{}}
}

// missing says that a pod is not found, and should be any moment.
func (p *pods) missing() bool { return p.urgent }

// wants sets the endpoints that programs are needed for. A pod without addresses has no
// interface yet.
func (e *Enforcer) wants(np policy.NodePolicy) {
	since := map[podID]time.Time{}
	e.pods.wanted, e.pods.local = nil, np.Endpoints
	for _, ep := range np.Endpoints {
		if !needsPrograms(ep) {
			continue
		}
		e.pods.wanted = append(e.pods.wanted, ep)
		id := idOf(ep)
		since[id] = e.config.Now()
		if t, ok := e.pods.since[id]; ok {
			since[id] = t
		}
	}
	e.pods.since = since
}

// needsPrograms is true of host-network pods, too: that they can have none is a problem.
func needsPrograms(ep policy.EndpointPolicy) bool {
	return ep.Policed() && (ep.HostNetwork || len(ep.Addrs) > 0)
}

// detachUnpoliced detaches the programs of pods that np no longer polices.
func (e *Enforcer) detachUnpoliced(np policy.NodePolicy) {
	wanted := map[podID]bool{}
	for _, ep := range np.Endpoints {
		if needsPrograms(ep) {
			wanted[idOf(ep)] = true
		}
	}
	for _, ifindex := range sortedKeys(e.pods.attached) {
		if id := e.pods.attached[ifindex].id; !wanted[id] && !e.lingers(id) {
			e.detach(ifindex)
		}
	}
}

// syncPods finds the interfaces of the wanted endpoints and attaches their programs, and
// takes programs away from where none belongs. all reads every namespace anew.
func (e *Enforcer) syncPods(all bool) {
	if !e.force.known {
		return
	}
	e.outcome("NamespacesNotRead", e.config.Links.Scan(all))
	e.outcome("Owners", e.config.Datapath.SetOwners(e.owners()))
	claimed := map[int]podID{}
	found := map[podID]bool{}
	lost := 0
	before := e.pods.problems
	e.pods.problems = map[podID]podProblem{}
	e.pods.urgent = false
	for _, ep := range e.pods.wanted {
		problem := e.syncPod(ep, claimed)
		if problem == (podProblem{}) {
			found[idOf(ep)] = true
			continue
		}
		waited := e.config.Now().Sub(e.pods.since[idOf(ep)])
		if problem.reason == reasonNoInterface {
			lost++
			e.pods.urgent = e.pods.urgent || waited < podUrgent
		}
		if problem.reason != reasonNoInterface || waited >= podGrace {
			e.pods.problems[idOf(ep)] = problem
			if before[idOf(ep)] != problem {
				e.config.Log.Info("pod not enforced", "endpoint", ep.Key, "reason", problem.reason, "message", problem.message)
			}
		}
	}
	e.sweep(claimed, found)
	e.sweepAdopted(claimed, lost)
	e.shutOthers(before, lost)
	e.fitMTU()
	e.config.Metrics.pods(len(e.pods.attached), len(e.pods.problems))
	e.keepFirst()
	e.outcome("Guards", e.config.Datapath.Guard(e.guards()))
}

// owners are the addresses behind each interface, of all pods that have a veth. They are
// those that the cluster knows: a pod can give itself others.
func (e *Enforcer) owners() map[int][]netip.Addr {
	out := map[int][]netip.Addr{}
	for _, ep := range e.pods.local {
		if ep.HostNetwork || len(ep.Addrs) == 0 {
			continue
		}
		if link, err := e.config.Links.Find(ep.Addrs); err == nil {
			out[link.Ifindex] = append(out[link.Ifindex], ep.Addrs...)
		}
	}
	return out
}

// syncPod attaches the programs of one endpoint; the zero problem says that they are.
func (e *Enforcer) syncPod(ep policy.EndpointPolicy, claimed map[int]podID) podProblem {
	if ep.HostNetwork {
		return podProblem{reasonHostNetwork, "the pod uses its node's network: no policy can be enforced on it"}
	}
	l, err := e.config.Links.Find(ep.Addrs)
	switch {
	case errors.Is(err, links.ErrNoVeth):
		return podProblem{reasonNoVeth, err.Error()}
	case err != nil:
		return podProblem{reasonNoInterface, err.Error()}
	}
	if other, ok := claimed[l.Ifindex]; ok {
		return podProblem{reasonConflict, fmt.Sprintf("the interface that holds the pod's address is that of %s", other.key)}
	}
	claimed[l.Ifindex] = idOf(ep)
	want := attachedPod{id: idOf(ep), link: bpf.PodLink{
		Key: ep.Key, Ifindex: l.Ifindex, PodMAC: l.PodMAC, HostMAC: l.HostMAC, Addrs: ep.Addrs,
		NetNS: l.Path, PodIfindex: l.PodIfindex,
	}, mtu: l.MTU}
	if reflect.DeepEqual(e.pods.attached[l.Ifindex], want) {
		return podProblem{}
	}
	e.raiseMTU(l.MTU)
	_, again := e.pods.attached[l.Ifindex]
	older := !again && !e.pods.adopted[l.Ifindex]
	if older {
		// The programs do not know connections that are older than they are. Both sides of
		// one that is denied have to be told now: nothing gets out of it later.
		e.cut(ep, l, false)
	}
	if err := e.config.Datapath.AttachPod(want.link); err != nil {
		e.config.Metrics.attachFailed()
		return podProblem{reasonAttach, err.Error()}
	}
	if older {
		e.cut(ep, l, true)
	}
	e.pods.attached[l.Ifindex] = want
	delete(e.pods.adopted, l.Ifindex)
	e.config.Log.Info("program attached", "endpoint", ep.Key, "interface", l.Ifindex)
	e.countLate(want.id)
	return podProblem{}
}

// cut ends a pod's open connections that the policy in force denies and, if redirected is set,
// those that have to come back through the proxy.
func (e *Enforcer) cut(ep policy.EndpointPolicy, l links.Link, redirected bool) {
	judged := map[links.Connection]bool{}
	n, err := e.config.Links.Cut(l, func(c links.Connection) bool {
		request := policy.Request{Endpoint: c.Local.Addr(), Peer: c.Remote.Addr(), Protocol: policy.ProtocolTCP}
		kind := links.Connection{Accepted: c.Accepted, Remote: netip.AddrPortFrom(c.Remote.Addr(), 0)}
		if c.Accepted {
			request.Direction, request.Port = policy.Ingress, c.Local.Port()
			kind.Local = netip.AddrPortFrom(c.Local.Addr(), c.Local.Port())
		} else {
			request.Direction, request.Port = policy.Egress, c.Remote.Port()
			kind.Remote, kind.Local = c.Remote, netip.AddrPortFrom(c.Local.Addr(), 0)
		}
		if e.config.Datapath.Proxied(c.Local, c.Remote) {
			return true
		}
		keep, known := judged[kind]
		if !known {
			verdict := policy.Decide(e.force.policy, request).Verdict
			keep = verdict != policy.Denied && (verdict != policy.Redirected || !redirected)
			judged[kind] = keep
		}
		return keep
	})
	if err != nil {
		e.config.Log.Info("open connections not ended", "endpoint", ep.Key, "reason", err.Error())
	}
	if n > 0 {
		e.config.Log.Info("open connections ended", "endpoint", ep.Key, "connections", n)
	}
}

// sweep detaches programs from interfaces that are gone, and from those that no wanted
// endpoint has. A wanted endpoint that is not found just now keeps its programs.
func (e *Enforcer) sweep(claimed map[int]podID, found map[podID]bool) {
	wanted := map[podID]bool{}
	for _, ep := range e.pods.wanted {
		wanted[idOf(ep)] = true
	}
	for _, ifindex := range sortedKeys(e.pods.attached) {
		id := e.pods.attached[ifindex].id
		_, inUse := claimed[ifindex]
		if !inUse && (!e.config.Links.Has(ifindex) || !wanted[id] && !e.lingers(id) || found[id]) {
			e.detach(ifindex)
		}
	}
}

// sweepAdopted detaches programs of an earlier run where no wanted endpoint is. While one
// is lost, it may be behind any interface that none has claimed.
func (e *Enforcer) sweepAdopted(claimed map[int]podID, lost int) {
	for _, ifindex := range sortedKeys(e.pods.adopted) {
		_, inUse := claimed[ifindex]
		if !inUse && (!e.config.Links.Has(ifindex) || lost == 0) {
			e.detach(ifindex)
		}
	}
}

func (e *Enforcer) detach(ifindex int) {
	if err := e.config.Datapath.DetachPod(ifindex); err != nil {
		e.config.Log.Error(err, "program not detached", "interface", ifindex)
		return // the next sweep tries again
	}
	e.config.Log.Info("program detached", "endpoint", e.pods.attached[ifindex].id.key, "interface", ifindex)
	delete(e.pods.attached, ifindex)
	delete(e.pods.adopted, ifindex)
}

func sortedKeys[V any](m map[int]V) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
