package policy

import "slices"

// memo is all that a Compile worked out, in the order in which one thing follows from another.
type memo struct {
	s   Snapshot
	c   *compiler
	out *Compiled
	// members are the endpoints of each different set of labels; specs the policies' that select it.
	subjects subjects
	index    *labelIndex
	members  [][]int32
	specs    [][]compiledSpec
	policies []policyMemo // in the order of s.Policies
	tables   tableCache
	// at is each endpoint's place in its node's view, -1 if it has none.
	at []int32
}

// policyMemo is what follows from one policy and the universe.
type policyMemo struct {
	policy   *Policy
	specs    []specMemo
	problems map[Problem]bool
}

type specMemo struct {
	compiledSpec
	// subjects are the sets of labels that the spec selects.
	subjects []int32
}

func newMemo(s Snapshot, c *compiler, out *Compiled) *memo {
	m := &memo{s: s, c: c, out: out, subjects: newSubjects(s), tables: tableCache{}, at: make([]int32, len(s.Endpoints))}
	m.index = newLabelIndex(m.subjects.sets)
	m.members = make([][]int32, len(m.subjects.sets))
	for i, n := range m.subjects.of {
		m.members[n] = append(m.members[n], int32(i))
	}
	m.policies = make([]policyMemo, 0, len(s.Policies))
	for i := range s.Policies {
		m.policies = append(m.policies, m.policy(s.Policies[i]))
	}
	m.specs = make([][]compiledSpec, len(m.subjects.sets))
	for i := range m.policies {
		m.policies[i].addTo(m.specs, func(int32) bool { return true })
	}
	return m
}

// policy resolves a policy. It is a copy, so that no other policy of the snapshot is kept with it.
func (m *memo) policy(p Policy) policyMemo {
	out := policyMemo{policy: &p}
	out.problems = m.c.collect(func() {
		for j := range p.Specs {
			spec := &p.Specs[j]
			cs := compiledSpec{&p, m.c.u.newSection(&p, spec, Ingress, m.c.report), m.c.u.newSection(&p, spec, Egress, m.c.report)}
			if !cs.ingress.selects() && !cs.egress.selects() {
				continue
			}
			subjects := m.index.find(spec.Subject)
			out.specs = append(out.specs, specMemo{cs, subjects})
			m.checkNamed(cs.ingress, subjects)
		}
	})
	return out
}

// addTo adds the policy's specs to those of the subjects that they select.
func (p *policyMemo) addTo(specs [][]compiledSpec, which func(int32) bool) {
	for _, spec := range p.specs {
		for _, n := range spec.subjects {
			if which(n) {
				specs[n] = append(specs[n], spec.compiledSpec)
			}
		}
	}
}

// endpoints gives every endpoint that a policy selects its tables. The others are listed
// without: a node has to know a pod that nobody selects from one that it has not heard of.
func (m *memo) endpoints() {
	for i := range m.s.Endpoints {
		e := &m.s.Endpoints[i]
		apply := m.specs[m.subjects.of[i]]
		m.at[i] = -1
		if !listed(e, apply) {
			continue
		}
		view := m.out.nodes[e.Node]
		if view == nil {
			view = &nodeView{applied: map[Ref]AppliedPolicy{}}
			m.out.nodes[e.Node] = view
		}
		m.at[i] = int32(len(view.endpoints))
		view.endpoints = append(view.endpoints, EndpointPolicy{Key: e.Key, UID: e.UID, Identity: e.Identity, Addrs: unmapped(e.Addrs), HostNetwork: e.HostNetwork})
		m.giveTables(view, i)
		var last *Policy
		for _, cs := range apply {
			if last == nil || cs.policy.Ref != last.Ref {
				m.out.selected[cs.policy.Ref] = append(m.out.selected[cs.policy.Ref], selectedOf(e))
			}
			last = cs.policy
			if !e.HostNetwork {
				view.applied[last.Ref] = last.applied()
			}
		}
	}
}

func selectedOf(e *Endpoint) Selected {
	return Selected{Key: e.Key, Node: e.Node, HostNetwork: e.HostNetwork}
}

func (p *Policy) applied() AppliedPolicy {
	return AppliedPolicy{Ref: p.Ref, UID: p.UID, Generation: p.Generation}
}

// listed says whether a node is told of the endpoint.
func listed(e *Endpoint, apply []compiledSpec) bool {
	return len(apply) > 0 || !e.HostNetwork && e.Node != ""
}

// giveTables sets the tables of an endpoint in its node's view.
func (m *memo) giveTables(view *nodeView, i int) {
	e, n := &m.s.Endpoints[i], m.subjects.of[i]
	ep := &view.endpoints[m.at[i]]
	ep.Ingress, ep.Egress = "", ""
	if apply := m.specs[n]; !e.HostNetwork && len(apply) > 0 {
		ep.Ingress = m.tables.get(m.c, Ingress, n, e, apply, m.c.u.position[IdentityHost])
		ep.Egress = m.tables.get(m.c, Egress, n, e, apply, m.c.u.hosts[m.c.u.book.hosts[e.Node]])
	}
}

// problems puts together what was reported of policies, tables and nodes, sorted.
func (m *memo) problems() {
	all := m.c.problems
	if all == nil {
		all = map[Problem]bool{}
	}
	for i := range m.policies {
		for p := range m.policies[i].problems {
			all[p] = true
		}
	}
	for _, made := range m.c.made {
		for p := range made.problems {
			all[p] = true
		}
	}
	m.out.problems = make([]Problem, 0, len(all))
	for p := range all {
		m.out.problems = append(m.out.problems, p)
	}
	slices.SortFunc(m.out.problems, compareProblems)
	if len(all) == 0 {
		m.out.problems = nil
	}
}
