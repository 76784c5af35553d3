package policy

import (
	"cmp"
	"reflect"
	"slices"
)

// Compiled is a Snapshot with everything worked out that is the same for all nodes. It
// does not change; what its methods return is shared and must not be changed either.
type Compiled struct {
	nodes      map[string]*nodeView
	tables     map[TableID]*Table
	classes    map[ClassID]*Class
	secrets    []Secret
	addresses  []Address
	identities []IdentityLabels
	problems   []Problem
	selected   map[Ref][]Selected
}

// nodeView is what belongs to one node.
type nodeView struct {
	endpoints []EndpointPolicy
	applied   map[Ref]AppliedPolicy
}

// Selected is an endpoint that a policy selects.
type Selected struct {
	Key  string
	Node string
	// HostNetwork endpoints are selected, but cannot be enforced.
	HostNetwork bool
}

// compiler is the state of one Compile, and of those after it that change little.
type compiler struct {
	u       *universe
	tables  map[TableID]*Table
	classes map[ClassID]*Class
	// partsOf says of each class whose rules have a part in it, also where nothing is left of them.
	partsOf map[ClassID][]Ref
	// made says of each table what it was made of.
	made            map[TableID]madeTable
	servicePorts    []servicePort
	allServicePorts []int32
	servicesOf      map[Identity][]int32
	// problems takes what is reported.
	problems map[Problem]bool
	// limited is true where a class or a node had too much: that concerns others than those who
	// brought it.
	limited bool
	// groupOf is room for groups, one number for each identity; all are 0 between its calls.
	groupOf []int32
}

// madeTable is what a table was made of, and what was wrong with it.
type madeTable struct {
	sections []*section
	problems map[Problem]bool
}

// Compile works out the policy of all nodes at once. For one Snapshot after the other, use a
// [Compiler].
func Compile(s Snapshot) *Compiled { return compile(s, maxNode()).out }

func compile(s Snapshot, most limits) *memo {
	c := &compiler{u: newUniverse(s), tables: map[TableID]*Table{}, classes: map[ClassID]*Class{}, partsOf: map[ClassID][]Ref{}, made: map[TableID]madeTable{},
		servicesOf: map[Identity][]int32{}, problems: map[Problem]bool{}}
	c.servicePorts = c.u.servicePorts()
	for n, sp := range c.servicePorts {
		c.allServicePorts = append(c.allServicePorts, int32(n))
		for _, t := range sp.targets {
			c.servicesOf[t.identity] = append(c.servicesOf[t.identity], int32(n))
		}
	}
	out := &Compiled{nodes: map[string]*nodeView{}, tables: c.tables, classes: c.classes, secrets: s.Secrets,
		addresses: c.u.book.sorted(), identities: c.u.labels(), selected: map[Ref][]Selected{}}
	m := newMemo(s, c, out)
	m.endpoints()
	c.limit(out.nodes, most)
	m.problems()
	return m
}

func compareProblems(a, b Problem) int {
	return cmp.Or(CompareRefs(a.Policy, b.Policy), comparePaths(a.Path, b.Path), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
}

// report keeps a problem once, however often it is met.
func (c *compiler) report(p Problem) { c.problems[p] = true }

// collect returns what is reported while f runs.
func (c *compiler) collect(f func()) map[Problem]bool {
	outer := c.problems
	c.problems = map[Problem]bool{}
	f()
	out := c.problems
	c.problems = outer
	return out
}

// Resolve returns what one node must enforce. For many nodes, Compile once.
func Resolve(s Snapshot, node string) NodePolicy { return Compile(s).Node(node) }

// Node returns what a node must enforce.
func (c *Compiled) Node(name string) NodePolicy {
	np := c.Local(name)
	np.Addresses = slices.Clone(c.addresses)
	for i := range np.Addresses {
		// Only node addresses have a name and no pod's identity.
		if a := &np.Addresses[i]; a.Node == name && name != "" && a.isNode() {
			a.Identity = IdentityHost
		}
	}
	np.Identities = c.identities
	return np
}

// Local is Node without Addresses and Identities.
func (c *Compiled) Local(name string) NodePolicy {
	np := NodePolicy{Node: name}
	view := c.nodes[name]
	if view == nil {
		return np
	}
	np.Endpoints = view.endpoints
	tables, classes := map[TableID]bool{"": true}, map[ClassID]bool{"": true}
	for _, e := range view.endpoints {
		for _, id := range []TableID{e.Ingress, e.Egress} {
			if tables[id] {
				continue
			}
			tables[id] = true
			np.Tables = append(np.Tables, *c.tables[id])
			for _, entry := range c.tables[id].Entries {
				if !classes[entry.Class] {
					classes[entry.Class] = true
					np.Classes = append(np.Classes, *c.classes[entry.Class])
				}
			}
		}
	}
	np.Secrets = c.secretsOf(np.Classes)
	for _, a := range view.applied {
		np.Applied = append(np.Applied, a)
	}
	slices.SortFunc(np.Tables, func(a, b Table) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(np.Classes, func(a, b Class) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(np.Applied, func(a, b AppliedPolicy) int { return CompareRefs(a.Ref, b.Ref) })
	return np
}

// secretsOf returns the secrets that the classes name: a node is given no others.
func (c *Compiled) secretsOf(classes []Class) []Secret {
	named := map[SecretID]bool{}
	for _, class := range classes {
		for _, id := range class.Secrets() {
			named[id] = true
		}
	}
	var out []Secret
	for _, s := range c.secrets {
		if named[s.ID] {
			out = append(out, s)
		}
	}
	return out
}

// Cluster returns what is the same on all nodes: each address seen from no node (node
// addresses are as other nodes see them), and every identity's labels.
func (c *Compiled) Cluster() ([]Address, []IdentityLabels) { return c.addresses, c.identities }

// Problems returns what could not be resolved, by policy and path.
func (c *Compiled) Problems() []Problem { return c.problems }

// Selected returns for each policy the endpoints that it selects in some direction, by Key.
func (c *Compiled) Selected() map[Ref][]Selected { return c.selected }

func (a Address) isNode() bool {
	return a.Pod == "" && a.Prefix.IsSingleIP() && a.Identity.IsNode()
}

// SameNode says whether a node has the same in another result of one [Compiler]. It can say no
// where it is so, but yes only where it is.
func (c *Compiled) SameNode(other *Compiled, node string) bool {
	return c.nodes[node] == other.nodes[node] && (sameArray(c.secrets, other.secrets) || reflect.DeepEqual(c.secrets, other.secrets))
}

// SameCluster says the same of what Cluster returns.
func (c *Compiled) SameCluster(other *Compiled) bool {
	return sameArray(c.addresses, other.addresses) && sameArray(c.identities, other.identities)
}

func sameArray[E any](a, b []E) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
