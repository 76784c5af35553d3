package controllers

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

const (
	// own names this replica among the links of a node: no pod has an empty name.
	own = ""
	// followEvery is how often at most the leader is told of one node.
	followEvery = 50 * time.Millisecond
)

// link is what a replica knows of a node that is, or was, connected to it.
type link struct {
	connected bool
	// since is when the node came or went.
	since    time.Time
	refused  map[string]string // by type URL
	report   *septumpb.NodeReport
	reported time.Time
	// restrictions are what the node was served by the replica, the newest last.
	restrictions []xds.Restriction
}

// restriction is that of the version which the node reports; false where it has the whole.
func (l *link) restriction() (xds.Restriction, bool) {
	for _, r := range slices.Backward(l.restrictions) {
		if r.Version == l.report.GetNodeVersion() && r.Of != r.Version {
			return r, true
		}
	}
	return xds.Restriction{}, false
}

// inForce is the version that the node reports, and the features without which it has it.
func (l *link) inForce() (version string, lacks []string) {
	if r, ok := l.restriction(); ok {
		return r.Of, r.Lacks
	}
	return l.report.GetNodeVersion(), nil
}

// merge makes the node's state that of the link which it came to last. A node has more than
// one link only while it goes from one replica to another.
func (f *fleet) merge(name string, n *nodeState) {
	var best *link
	n.connected = false
	for _, l := range n.links {
		n.connected = n.connected || l.connected
		if best == nil || l.connected && !best.connected || l.connected == best.connected && l.since.After(best.since) {
			best = l
		}
	}
	if best == nil {
		return
	}
	maps.DeleteFunc(n.links, func(replica string, l *link) bool { return l != best && !l.connected && replica != own })
	n.refused = best.refused
	if !n.connected {
		n.lost = best.since
	}
	// A node says everything again when it connects: until then its last report stands.
	if best.report == nil {
		return
	}
	n.version, n.lacks = best.inForce()
	if best.report == n.report {
		return
	}
	n.report, n.reported = best.report, best.reported
	f.count(name, n)
}

// count takes a node's counters from its last report. One that has been away for longer may
// have begun to count anew since, and told another leader so.
func (f *fleet) count(name string, n *nodeState) {
	if !f.leading || n.report == nil || !n.connected && !n.lost.IsZero() && f.now().Sub(n.lost) > grace {
		return
	}
	f.counters.report(name, n.report.GetInstance(), n.report.GetCounters())
}

// lead begins to count: seed gives what was counted before, by whoever led then.
func (f *fleet) lead(seed func(*counters)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leading, f.counters = true, newCounters()
	if f.current != nil {
		f.counters.keep(f.current.uids(), f.current.nodes)
	}
	seed(f.counters)
	for _, name := range slices.Sorted(maps.Keys(f.nodes)) {
		f.count(name, f.nodes[name])
	}
}

// heard takes what another replica knows of a node.
func (f *fleet) heard(replica string, s *septumpb.NodeState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, now := f.node(s.GetNode()), f.now()
	l := &link{
		connected: s.GetConnected(), since: now.Add(-time.Duration(s.GetSinceMs()) * time.Millisecond),
		refused: s.GetRefused(), report: s.GetReport(), reported: now.Add(-time.Duration(s.GetReportedMs()) * time.Millisecond),
	}
	if r := s.GetRestriction(); r != nil {
		l.restrictions = []xds.Restriction{{Version: r.GetVersion(), Of: r.GetOf(), Lacks: r.GetLacks()}}
	}
	n.links[replica] = l
	f.merge(s.GetNode(), n)
	f.changed()
}

// unheard forgets that nodes are connected to another replica, which does not answer any more.
func (f *fleet) unheard(replica string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, n := range f.nodes {
		if l := n.links[replica]; l != nil && l.connected {
			l.connected, l.since = false, f.now()
			f.merge(name, n)
		}
	}
	f.changed()
}

// follower is another replica that is told of this one's nodes.
type follower struct {
	wake chan struct{}

	mu    sync.Mutex
	dirty map[string]bool
}

func (f *follower) add(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dirty[node] = true
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// take returns the nodes of which something changed.
func (f *follower) take() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := slices.Sorted(maps.Keys(f.dirty))
	clear(f.dirty)
	return out
}

// Follow implements xds.NodeStates. A follower that is slow holds up nobody: it is sent
// each node's last state, and what came before that is lost.
func (f *fleet) Follow(ctx context.Context, send func(*septumpb.NodeState) error) error {
	all := &follower{wake: make(chan struct{}, 1), dirty: map[string]bool{}}
	f.mu.Lock()
	for name, n := range f.nodes {
		if n.links[own] != nil {
			all.add(name)
		}
	}
	f.followers[all] = true
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.followers, all)
	}()
	for {
		select {
		case <-all.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		for _, name := range all.take() {
			if err := send(f.state(name)); err != nil {
				return err
			}
		}
		select {
		case <-time.After(followEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// state is what this replica knows of a node by itself.
func (f *fleet) state(name string) *septumpb.NodeState {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &septumpb.NodeState{Node: name}
	n := f.nodes[name]
	if n == nil || n.links[own] == nil {
		return out
	}
	l, now := n.links[own], f.now()
	out.Connected, out.SinceMs, out.Refused = l.connected, now.Sub(l.since).Milliseconds(), maps.Clone(l.refused)
	if l.report != nil {
		out.Report, out.ReportedMs = l.report, now.Sub(l.reported).Milliseconds()
	}
	if r, ok := l.restriction(); ok {
		out.Restriction = &septumpb.Restriction{Version: r.Version, Of: r.Of, Lacks: r.Lacks}
	}
	return out
}
