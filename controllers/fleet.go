package controllers

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

const (
	// grace is how long a node that is not connected counts as it was: long enough for
	// an enforcer or an operator to start again.
	grace = 60 * time.Second
	// versionsKept is how many versions of each node's resources are remembered.
	versionsKept = 64
)

// fleet is what is known of the nodes: what they were served, and what they say. It is
// the xds.Observer.
type fleet struct {
	now     func() time.Time
	metrics *metrics
	// wake has an element when something changed that statuses show.
	wake chan struct{}

	mu        sync.Mutex
	current   *publication
	nodes     map[string]*nodeState
	counters  *counters
	clusters  clusterHistory
	published map[element]uint64
	// leading is true once this replica writes statuses: only then it counts.
	leading   bool
	followers map[*follower]bool
}

// nodeState is one node. What it says is merged from its links; see merge.
type nodeState struct {
	// links are the node's to the replicas, by the replica's name; this one's is own.
	links     map[string]*link
	connected bool
	// lost is when the node was last seen to go; zero if it was never there.
	lost     time.Time
	refused  map[string]string // by type URL
	report   *septumpb.NodeReport
	reported time.Time
	// records are the node's last versions, the newest last.
	records []nodeRecord
	// version is what the report says to be in force, but for the features that the node lacks.
	version string
	lacks   []string
}

// element is something that a cluster version has to be new enough for.
type element struct {
	ref        policy.Ref
	uid        string
	generation int64
	pod        podID
}

// clusterHistory numbers the cluster's versions in the order in which they were last in force.
type clusterHistory struct {
	sequence uint64
	numbers  map[string]uint64
}

func newFleet(m *metrics, now func() time.Time) *fleet {
	return &fleet{
		now: now, metrics: m, wake: make(chan struct{}, 1), nodes: map[string]*nodeState{}, counters: newCounters(),
		clusters: clusterHistory{numbers: map[string]uint64{}}, published: map[element]uint64{}, followers: map[*follower]bool{},
	}
}

func (f *fleet) changed() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// publish makes a publication the current one.
func (f *fleet) publish(p *publication) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.current = p
	f.clusters.publish(p.clusterVersion)
	published := make(map[element]uint64, len(f.published))
	for name, record := range p.nodes {
		f.node(name).remember(record)
		for ref, part := range record.policies {
			for _, pod := range append([]podID{{}}, part.pods...) {
				e := element{ref: ref, uid: part.uid, generation: part.generation, pod: pod}
				at, ok := f.published[e]
				if !ok {
					at = f.clusters.sequence
				}
				published[e] = at
			}
		}
	}
	f.published = published
	for name := range f.nodes {
		if _, ok := p.nodes[name]; !ok && !f.nodes[name].connected {
			delete(f.nodes, name)
		}
	}
	f.counters.keep(p.uids(), p.nodes)
	f.measure()
	f.changed()
}

func (h *clusterHistory) publish(version string) {
	if h.sequence > 0 && h.numbers[version] == h.sequence {
		return
	}
	h.sequence++
	h.numbers[version] = h.sequence
	for old, n := range h.numbers {
		if n+versionsKept <= h.sequence {
			delete(h.numbers, old)
		}
	}
}

// remember keeps the record, and in place of one of the same version: that had the same
// contents, so what is known of it now held then too.
func (n *nodeState) remember(r nodeRecord) {
	n.records = slices.DeleteFunc(n.records, func(old nodeRecord) bool { return old.version == r.version })
	if len(n.records) == versionsKept {
		n.records = slices.Delete(n.records, 0, 1)
	}
	n.records = append(n.records, r)
}

// inForce is the record of the version that the node has in its data path.
func (n *nodeState) inForce() (nodeRecord, bool) {
	for _, r := range slices.Backward(n.records) {
		if n.report != nil && r.version == n.version {
			return r, true
		}
	}
	return nodeRecord{}, false
}

func (f *fleet) node(name string) *nodeState {
	n := f.nodes[name]
	if n == nil {
		n = &nodeState{links: map[string]*link{}}
		f.nodes[name] = n
	}
	return n
}

// Connected implements xds.Observer.
func (f *fleet) Connected(node string) {
	f.own(node, func(l *link) { l.connected, l.since, l.refused = true, f.now(), nil })
}

// Disconnected implements xds.Observer.
func (f *fleet) Disconnected(node string) {
	f.own(node, func(l *link) { l.connected, l.since = false, f.now() })
}

// Silent implements xds.Observer: the last report stands until the grace is over.
func (f *fleet) Silent(string) {}

// Restricted implements xds.Observer.
func (f *fleet) Restricted(node string, to xds.Restriction) {
	f.own(node, func(l *link) {
		if len(l.restrictions) == versionsKept {
			l.restrictions = slices.Delete(l.restrictions, 0, 1)
		}
		l.restrictions = append(l.restrictions, to)
	})
}

// Pushed implements xds.Observer.
func (f *fleet) Pushed(_, typeURL string, resources int) { f.metrics.pushed(typeURL, resources) }

// Acked implements xds.Observer.
func (f *fleet) Acked(node, typeURL string, err error) {
	if err != nil {
		f.metrics.refused(typeURL)
	}
	f.own(node, func(l *link) {
		delete(l.refused, typeURL)
		if err != nil {
			if l.refused == nil {
				l.refused = map[string]string{}
			}
			l.refused[typeURL] = err.Error()
		}
	})
}

// Reported implements xds.Observer.
func (f *fleet) Reported(node string, report *septumpb.NodeReport) {
	f.own(node, func(l *link) { l.report, l.reported = report, f.now() })
}

// own changes a node's link to this replica, and tells those who follow it.
func (f *fleet) own(node string, change func(*link)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.node(node)
	l := n.links[own]
	if l == nil {
		l = &link{}
		n.links[own] = l
	}
	change(l)
	f.merge(node, n)
	for follower := range f.followers {
		follower.add(node)
	}
	f.measure()
	f.changed()
}

// measure counts the nodes that are connected to this replica, and those of them that have
// all that is current: the sum over all replicas is the cluster's.
func (f *fleet) measure() {
	connected, acked := 0, 0
	for name, n := range f.nodes {
		l := n.links[own]
		if l == nil || !l.connected {
			continue
		}
		connected++
		version, _ := l.inForce()
		if f.current != nil && l.report.GetClusterVersion() == f.current.clusterVersion &&
			version != "" && version == f.current.nodes[name].version {
			acked++
		}
	}
	f.metrics.nodes(connected, acked)
}

func comparePods(a, b podID) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.uid, b.uid)) }
