package policy

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// maxEdits is how many policies can differ from the Snapshot before, and most of how many
// Snapshots in a row only what differs is worked out: tables and numbers that nobody uses any
// more stay until then.
const (
	maxEdits = 64
	maxInRow = 1000
)

// Compiler compiles one Snapshot after the other. What it returns equals what [Compile] does of
// the same Snapshot; but where only policies differ from the one before, and name no peers that
// change what identities there are, it works out only what these policies touch. It keeps
// what it was given, which must not be changed. The zero value is ready; it is for one goroutine.
type Compiler struct {
	last *memo
	// named counts how often the last Snapshot's rules name each thing that makes identities.
	named map[string]int
	inRow int
}

// Compile works out the policy of all nodes at once.
func (k *Compiler) Compile(s Snapshot) *Compiled { return k.compile(s, maxNode()) }

func (k *Compiler) compile(s Snapshot, most limits) *Compiled {
	if out := k.edited(s, most); out != nil {
		return out
	}
	k.last, k.inRow, k.named = compile(s, most), 0, map[string]int{}
	for i := range s.Policies {
		count(k.named, &s.Policies[i], 1)
	}
	return k.last.out
}

// edit is one policy that differs: before is nil for a new one, after for one that is gone.
type edit struct {
	before *policyMemo
	after  *Policy
}

func (e edit) ref() Ref {
	if e.before != nil {
		return e.before.policy.Ref
	}
	return e.after.Ref
}

// edited returns the result where it can be had from the last one, nil where not.
func (k *Compiler) edited(s Snapshot, most limits) *Compiled {
	if k.last == nil || k.last.c.limited || k.inRow >= maxInRow || !sameCluster(k.last.s, s) {
		return nil
	}
	edits, ok := k.last.edits(s.Policies)
	if !ok || !k.sameNames(edits) {
		return nil
	}
	m := k.last.edit(s, edits, most)
	if m == nil || m.c.limited {
		k.last = nil // the room that both share may be half changed
		return nil
	}
	m.problems()
	k.last, k.inRow = m, k.inRow+1
	return m.out
}

// sameCluster says whether all but the policies and secrets is the same.
func sameCluster(a, b Snapshot) bool {
	return sameSlice(a.Nodes, b.Nodes, func(x, y *Node) bool {
		return x.Name == y.Name && slices.Equal(x.Addrs, y.Addrs) && slices.Equal(x.PodCIDRs, y.PodCIDRs) && maps.Equal(x.Labels, y.Labels)
	}) && sameSlice(a.Endpoints, b.Endpoints, func(x, y *Endpoint) bool {
		return x.Key == y.Key && x.UID == y.UID && x.Node == y.Node && x.Workload == y.Workload && x.Identity == y.Identity &&
			x.HostNetwork == y.HostNetwork && slices.Equal(x.Addrs, y.Addrs) && slices.Equal(x.Ports, y.Ports) && maps.Equal(x.Labels, y.Labels)
	}) && sameSlice(a.Services, b.Services, func(x, y *Service) bool {
		return x.Key == y.Key && x.Headless == y.Headless && maps.Equal(x.Labels, y.Labels) && slices.Equal(x.Addrs, y.Addrs) &&
			slices.EqualFunc(x.Ports, y.Ports, func(p, q ServicePort) bool {
				return p.Name == q.Name && p.Protocol == q.Protocol && p.Port == q.Port && slices.Equal(p.Backends, q.Backends)
			})
	}) && sameSlice(a.Identities, b.Identities, func(x, y *IdentityLabels) bool {
		return x.Identity == y.Identity && maps.Equal(x.Labels, y.Labels)
	}) && slices.Equal(a.APIServer, b.APIServer)
}

// sameSlice compares what is not the very same.
func sameSlice[E any](a, b []E, equal func(x, y *E) bool) bool {
	if len(a) != len(b) || len(a) == 0 || &a[0] == &b[0] {
		return len(a) == len(b)
	}
	for i := range a {
		if !equal(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// edits are the policies that differ; false if they are many, or not sorted as ingest sorts them.
func (m *memo) edits(policies []Policy) ([]edit, bool) {
	var out []edit
	i := 0
	for j := range policies {
		after := &policies[j]
		if j > 0 && CompareRefs(policies[j-1].Ref, after.Ref) >= 0 {
			return nil, false
		}
		for i < len(m.policies) && CompareRefs(m.policies[i].policy.Ref, after.Ref) < 0 {
			out = append(out, edit{before: &m.policies[i]})
			i++
		}
		switch {
		case i == len(m.policies) || m.policies[i].policy.Ref != after.Ref:
			out = append(out, edit{after: after})
		case !samePolicy(m.policies[i].policy, after):
			out = append(out, edit{before: &m.policies[i], after: after})
			i++
		default:
			i++
		}
		if len(out) > maxEdits {
			return nil, false
		}
	}
	for ; i < len(m.policies); i++ {
		out = append(out, edit{before: &m.policies[i]})
	}
	return out, len(out) <= maxEdits
}

func samePolicy(a, b *Policy) bool {
	if a.UID != b.UID || a.Generation != b.Generation || a.Mode != b.Mode || a.Failure != b.Failure || len(a.Specs) != len(b.Specs) {
		return false
	}
	return len(a.Specs) == 0 || &a.Specs[0] == &b.Specs[0] || reflect.DeepEqual(a.Specs, b.Specs)
}

// sameNames says whether the edits leave what identities there are, and counts them.
func (k *Compiler) sameNames(edits []edit) bool {
	delta := map[string]int{}
	for _, e := range edits {
		if e.before != nil {
			count(delta, e.before.policy, -1)
		}
		if e.after != nil {
			count(delta, e.after, 1)
		}
	}
	for name, n := range delta {
		if before := k.named[name]; (before == 0) != (before+n == 0) {
			return false
		}
	}
	for name, n := range delta {
		k.named[name] += n
	}
	return true
}

// count adds n for each CIDR, service, name and label of nodes that the policy's peers name.
func count(names map[string]int, p *Policy, n int) {
	eachRule(Snapshot{Policies: []Policy{*p}}, func(r *Rule) {
		for _, peer := range r.Peers {
			switch {
			case peer.CIDR != nil:
				names["cidr "+peer.CIDR.Prefix.String()] += n
				for _, e := range peer.CIDR.Except {
					names["cidr "+e.String()] += n
				}
			case peer.Name != "":
				names["name "+string(peer.Name)] += n
			case peer.Selector != nil:
				for _, r := range peer.Selector.Requirements {
					if strings.HasPrefix(r.Key, LabelNodePrefix) {
						names[r.Key] += n
					}
				}
			}
			for _, key := range peer.Services {
				names["service "+key] += n
			}
		}
	})
}
