package policy

import (
	"maps"
	"slices"
)

// editing is one memo that becomes another.
type editing struct {
	*memo
	edits []edit
	refs  map[Ref]bool
	// touched are the sets of labels that a changed policy selects, or has selected.
	touched map[int32]bool
	// views are the nodes' that were copied.
	views map[string]*nodeView
}

// edit returns what follows from the edits; nil if the endpoints that nodes are told of change, or
// a node has too much.
// What the last result holds is not changed, but m's tables and groups are used on.
func (m *memo) edit(s Snapshot, edits []edit, most limits) *memo {
	c := *m.c
	c.tables, c.classes, c.made, c.problems = maps.Clone(c.tables), maps.Clone(c.classes), maps.Clone(c.made), nil
	next := *m
	next.s, next.c = s, &c
	next.out = &Compiled{nodes: maps.Clone(m.out.nodes), tables: c.tables, classes: c.classes, secrets: s.Secrets,
		addresses: m.out.addresses, identities: m.out.identities, selected: m.out.selected}
	e := &editing{memo: &next, edits: edits, refs: map[Ref]bool{}, touched: map[int32]bool{}, views: map[string]*nodeView{}}
	e.policiesOf()
	e.specsOf()
	e.forget()
	if !e.giveAgain() || e.over(most) {
		return nil
	}
	e.appliedOf()
	e.selectedOf()
	e.drop()
	return &next
}

// policiesOf replaces the policies that differ, and finds what they touch.
func (e *editing) policiesOf() {
	if len(e.edits) == 0 {
		return
	}
	changed := map[Ref]*Policy{}
	for _, edit := range e.edits {
		e.refs[edit.ref()] = true
		if edit.before != nil {
			e.touch(edit.before)
		}
		changed[edit.ref()] = edit.after
	}
	old := e.policies
	e.policies = make([]policyMemo, 0, len(e.s.Policies))
	for i, j := 0, 0; j < len(e.s.Policies); j++ {
		p := &e.s.Policies[j]
		if changed[p.Ref] != nil {
			e.policies = append(e.policies, e.policy(*p))
			e.touch(&e.policies[len(e.policies)-1])
			continue
		}
		for old[i].policy.Ref != p.Ref {
			i++
		}
		e.policies = append(e.policies, old[i])
	}
}

func (e *editing) touch(p *policyMemo) {
	for _, spec := range p.specs {
		for _, n := range spec.subjects {
			e.touched[n] = true
		}
	}
}

// specsOf lists anew which specs select the subjects that are touched.
func (e *editing) specsOf() {
	e.specs = slices.Clone(e.specs)
	for n := range e.touched {
		e.specs[n] = nil
	}
	for i := range e.policies {
		e.policies[i].addTo(e.specs, func(n int32) bool { return e.touched[n] })
	}
}

// forget drops the tables and classes that a changed policy has a part in. All whose tables
// these are, are touched; and a class is only in tables of all policies that it has rules of.
func (e *editing) forget() {
	maps.DeleteFunc(e.tables, func(key tableKey, id TableID) bool {
		if !e.touched[key.subject] {
			return false
		}
		if made, ok := e.c.made[id]; ok && slices.ContainsFunc(made.sections, func(s *section) bool { return e.refs[s.policy.Ref] }) {
			for _, entry := range e.c.tables[id].Entries {
				if slices.ContainsFunc(e.c.partsOf[entry.Class], func(ref Ref) bool { return e.refs[ref] }) {
					delete(e.c.classes, entry.Class)
					delete(e.c.partsOf, entry.Class)
				}
			}
			delete(e.c.tables, id)
			delete(e.c.made, id)
		}
		return true
	})
}

// giveAgain gives the endpoints that are touched their tables.
func (e *editing) giveAgain() bool {
	for n := range e.touched {
		for _, i := range e.members[n] {
			endpoint := &e.s.Endpoints[i]
			if listed(endpoint, e.specs[n]) != (e.at[i] >= 0) {
				return false
			}
			if e.at[i] >= 0 {
				e.giveTables(e.view(endpoint.Node), int(i))
			}
		}
	}
	return true
}

// view is a copy of a node's, made once.
func (e *editing) view(node string) *nodeView {
	if view := e.views[node]; view != nil {
		return view
	}
	old := e.out.nodes[node]
	view := &nodeView{endpoints: slices.Clone(old.endpoints), applied: maps.Clone(old.applied)}
	for ref := range e.refs {
		delete(view.applied, ref)
	}
	e.views[node], e.out.nodes[node] = view, view
	return view
}

// appliedOf tells the nodes of the endpoints that are touched which policies apply.
func (e *editing) appliedOf() {
	for n := range e.touched {
		for _, i := range e.members[n] {
			endpoint := &e.s.Endpoints[i]
			for _, cs := range e.specs[n] {
				if !endpoint.HostNetwork && e.refs[cs.policy.Ref] {
					e.view(endpoint.Node).applied[cs.policy.Ref] = cs.policy.applied()
				}
			}
		}
	}
}

// selectedOf lists anew what the changed policies select.
func (e *editing) selectedOf() {
	e.out.selected = maps.Clone(e.out.selected)
	for ref := range e.refs {
		delete(e.out.selected, ref)
	}
	for i := range e.policies {
		p := &e.policies[i]
		if !e.refs[p.policy.Ref] {
			continue
		}
		var all []int32
		for _, spec := range p.specs {
			for _, n := range spec.subjects {
				all = append(all, e.members[n]...)
			}
		}
		slices.Sort(all)
		for _, at := range slices.Compact(all) {
			e.out.selected[p.policy.Ref] = append(e.out.selected[p.policy.Ref], selectedOf(&e.s.Endpoints[at]))
		}
	}
}

// drop forgets the tables that no endpoint has any more: what is wrong with them is not reported.
func (e *editing) drop() {
	used := make(map[TableID]bool, len(e.tables))
	for _, id := range e.tables {
		used[id] = true
	}
	maps.DeleteFunc(e.c.made, func(id TableID, _ madeTable) bool { return !used[id] })
	maps.DeleteFunc(e.c.tables, func(id TableID, _ *Table) bool { return !used[id] })
}

// over says whether a node that is touched has more than there is room for.
func (e *editing) over(most limits) bool {
	for _, view := range e.views {
		if over(e.c.tablesOf(view), most) {
			return true
		}
	}
	return false
}
