package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
)

// subjects are the endpoints' different sets of labels.
type subjects struct {
	sets []Labels
	// of is the number of each endpoint's set.
	of []int32
}

// newSubjects groups endpoints by identity; one whose labels are not its identity's
// (a host-network pod, for one) is grouped by the labels themselves.
func newSubjects(s Snapshot) subjects {
	out := subjects{of: make([]int32, len(s.Endpoints))}
	byIdentity, byText := map[Identity]int32{}, map[string]int32{}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		n, ok := byIdentity[e.Identity]
		if ok && maps.Equal(out.sets[n], e.Labels) {
			out.of[i] = n
			continue
		}
		text := labelsText(e.Labels)
		if n, ok = byText[text]; !ok {
			n = int32(len(out.sets))
			out.sets = append(out.sets, e.Labels)
			byText[text] = n
			byIdentity[e.Identity] = n
		}
		out.of[i] = n
	}
	return out
}

func labelsText(l Labels) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(l)) {
		b.WriteString(key + "\x00" + l[key] + "\x00")
	}
	return b.String()
}

// compiledSpec is a Spec with both its sections.
type compiledSpec struct {
	policy          *Policy
	ingress, egress *section
}

// Policed says whether a policy selects the endpoint in at least one direction.
func (e EndpointPolicy) Policed() bool { return e.Ingress != "" || e.Egress != "" }

// endpoints gives every endpoint that a policy selects its tables. The others are listed
// without: a node has to know a pod that nobody selects from one that it has not heard of.
func (c *compiler) endpoints(s Snapshot, out *Compiled) {
	subs := newSubjects(s)
	index := newLabelIndex(subs.sets)
	specs := make([][]compiledSpec, len(subs.sets))
	for i := range s.Policies {
		p := &s.Policies[i]
		for j := range p.Specs {
			spec := &p.Specs[j]
			cs := compiledSpec{p, c.u.newSection(p, spec, Ingress, c.report), c.u.newSection(p, spec, Egress, c.report)}
			if !cs.ingress.selects() && !cs.egress.selects() {
				continue
			}
			for _, n := range index.find(spec.Subject) {
				specs[n] = append(specs[n], cs)
			}
		}
	}
	tables := tableCache{c: c, known: map[tableKey]TableID{}}
	named := newNamedCheck()
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		apply := specs[subs.of[i]]
		if len(apply) == 0 && (e.HostNetwork || e.Node == "") {
			continue
		}
		view := out.nodes[e.Node]
		if view == nil {
			view = &nodeView{applied: map[Ref]AppliedPolicy{}}
			out.nodes[e.Node] = view
		}
		ep := EndpointPolicy{Key: e.Key, UID: e.UID, Identity: e.Identity, Addrs: unmapped(e.Addrs), HostNetwork: e.HostNetwork}
		if !e.HostNetwork && len(apply) > 0 {
			ep.Ingress = tables.get(Ingress, subs.of[i], e, apply, c.u.position[IdentityHost])
			ep.Egress = tables.get(Egress, subs.of[i], e, apply, c.u.hosts[c.u.book.hosts[e.Node]])
		}
		view.endpoints = append(view.endpoints, ep)
		for _, cs := range apply {
			out.addSelected(cs.policy.Ref, Selected{Key: e.Key, Node: e.Node, HostNetwork: e.HostNetwork})
			if !e.HostNetwork {
				view.applied[cs.policy.Ref] = AppliedPolicy{Ref: cs.policy.Ref, UID: cs.policy.UID, Generation: cs.policy.Generation}
				named.look(cs.ingress, e)
			}
		}
	}
	named.report(c.report)
}

func (c *Compiled) addSelected(ref Ref, s Selected) {
	list := c.selected[ref]
	if len(list) > 0 && list[len(list)-1] == s {
		return
	}
	c.selected[ref] = append(list, s)
}

// tableCache finds the table of an endpoint that has the same labels and named ports as another.
type tableCache struct {
	c     *compiler
	known map[tableKey]TableID
}

type tableKey struct {
	direction     Direction
	subject, host int32
	ports         string
}

func (t *tableCache) get(d Direction, subject int32, e *Endpoint, specs []compiledSpec, host int32) TableID {
	key := tableKey{direction: d, subject: subject, host: host}
	if d == Ingress && len(e.Ports) > 0 {
		key.ports = fmt.Sprint(e.Ports)
	}
	if id, ok := t.known[key]; ok {
		return id
	}
	in := tableInput{direction: d, host: host, hostLabels: t.c.u.index.sets[host]}
	if d == Ingress {
		in.ports = e.Ports
	}
	for _, cs := range specs {
		s := cs.ingress
		if d == Egress {
			s = cs.egress
		}
		if s.selects() {
			in.sections = append(in.sections, s)
		}
	}
	if d == Egress {
		t.c.seesNames(in.sections)
	}
	var id TableID
	if len(in.sections) > 0 {
		id = t.c.table(in)
	}
	t.known[key] = id
	return id
}

func unmapped(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		out[i] = a.Unmap()
	}
	return out
}

// namedCheck finds ingress rules whose named ports no selected endpoint has.
type namedCheck struct {
	rules map[*rule]bool // found on some endpoint
}

func newNamedCheck() *namedCheck { return &namedCheck{rules: map[*rule]bool{}} }

func (n *namedCheck) look(s *section, e *Endpoint) {
	for i := range s.rules {
		r := &s.rules[i]
		for _, p := range r.named {
			n.rules[r] = n.rules[r] || len(namedRanges(p, e.Ports, r.deny)) > 0
		}
	}
}

func (n *namedCheck) report(report func(Problem)) {
	for r, found := range n.rules {
		if !found {
			report(Problem{Policy: r.id.Policy, Path: r.id.Path, Reason: ReasonUnresolved,
				Message: fmt.Sprintf("no selected pod has a port named %s: it selects nothing", portNames(r.named))})
		}
	}
}
