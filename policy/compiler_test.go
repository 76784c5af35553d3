package policy_test

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/draw"
)

// drawCluster draws a snapshot whose policies are sorted, and each there once.
func drawCluster(random *rand.Rand) policy.Snapshot {
	data := make([]byte, 400)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	s := (&draw.Draw{Data: data}).Snapshot()
	slices.SortFunc(s.Policies, func(a, b policy.Policy) int { return policy.CompareRefs(a.Ref, b.Ref) })
	s.Policies = slices.CompactFunc(s.Policies, func(a, b policy.Policy) bool { return a.Ref == b.Ref })
	return s
}

// change returns a snapshot that differs a little: policies that come, go, or say what another
// says, and sometimes something else.
func change(s policy.Snapshot, pool []policy.Policy, random *rand.Rand) policy.Snapshot {
	s.Policies = slices.Clone(s.Policies)
	for range 1 + random.IntN(2) {
		switch n := len(s.Policies); random.IntN(8) {
		case 0:
			if n > 0 {
				i := random.IntN(n)
				s.Policies = slices.Delete(s.Policies, i, i+1)
			}
		case 1, 2:
			p := pool[random.IntN(len(pool))]
			if !slices.ContainsFunc(s.Policies, func(q policy.Policy) bool { return q.Ref == p.Ref }) {
				s.Policies = append(s.Policies, p)
			}
		case 3: // a pod moves, comes or goes
			s.Endpoints = slices.Clone(s.Endpoints)
			if i := random.IntN(len(s.Endpoints)); random.IntN(2) == 0 {
				s.Endpoints[i].Node = []string{"n1", "n2", ""}[random.IntN(3)]
			} else if len(s.Endpoints) > 2 {
				s.Endpoints = slices.Delete(s.Endpoints, i, i+1)
			}
		default:
			if n > 0 {
				// Its name and place stay, and with them the names of its tables and classes.
				p, like := &s.Policies[random.IntN(n)], pool[random.IntN(len(pool))]
				p.Specs, p.Generation = renamed(like, p.Ref).Specs, p.Generation+1
				if random.IntN(3) == 0 {
					p.Mode, p.Failure = like.Mode, like.Failure
				}
			}
		}
	}
	slices.SortFunc(s.Policies, func(a, b policy.Policy) int { return policy.CompareRefs(a.Ref, b.Ref) })
	return s
}

// renamed is the policy with the rules of that of another name.
func renamed(p policy.Policy, ref policy.Ref) policy.Policy {
	p.Specs = slices.Clone(p.Specs)
	for i := range p.Specs {
		for _, section := range []*policy.Section{&p.Specs[i].Ingress, &p.Specs[i].Egress} {
			section.Rules = slices.Clone(section.Rules)
			for j := range section.Rules {
				r := &section.Rules[j]
				r.ID.Policy = ref
				if http, ok := r.L7.(*policy.HTTP); ok {
					same := *http
					same.Rules = slices.Clone(http.Rules)
					for k := range same.Rules {
						same.Rules[k].ID.Policy = ref
					}
					r.L7 = &same
				}
			}
		}
	}
	return p
}

// TestCompilerAgainstCompile: whatever changes, and in which order, the result is that of a whole
// compile, and what was returned before stays what it was.
func TestCompilerAgainstCompile(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 14))
	few := 0
	for range 150 {
		s := drawCluster(random)
		pool := slices.Concat(s.Policies, drawCluster(random).Policies)
		var k policy.Compiler
		before := k.Compile(s)
		was := text(t, before)
		for step := range 12 {
			s = change(s, pool, random)
			got, want := k.Compile(s), contents(policy.Compile(s))
			if !reflect.DeepEqual(contents(got), want) {
				t.Fatalf("step %d:\n%+v\nand not\n%+v", step, contents(got), want)
			}
			if text(t, before) != was {
				t.Fatalf("step %d changes what was returned before it", step)
			}
			for _, node := range []string{"n1", "n2"} {
				if got.SameNode(before, node) && !reflect.DeepEqual(got.Local(node), before.Local(node)) {
					t.Fatalf("step %d: node %s is said to have the same", step, node)
				}
			}
			if k.InRow() > 0 {
				few++
			}
			before, was = got, text(t, got)
		}
	}
	if few < 300 {
		t.Errorf("only %d changes were worked out alone", few)
	}
}

// everything that a Compiled says.
type everything struct {
	nodes      map[string]policy.NodePolicy
	addresses  []policy.Address
	identities []policy.IdentityLabels
	problems   []policy.Problem
	selected   map[policy.Ref][]policy.Selected
}

// text is what it says, apart from everything that others hold as well.
func text(t *testing.T, c *policy.Compiled) string {
	t.Helper()
	all := contents(c)
	var selected []any
	for _, ref := range slices.SortedFunc(maps.Keys(all.selected), policy.CompareRefs) {
		selected = append(selected, ref, all.selected[ref])
	}
	out, err := json.Marshal([]any{all.nodes, all.addresses, all.identities, all.problems, selected})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func contents(c *policy.Compiled) everything {
	out := everything{nodes: map[string]policy.NodePolicy{}, problems: c.Problems(), selected: c.Selected()}
	for _, name := range []string{"", "n1", "n2"} {
		out.nodes[name] = c.Local(name)
	}
	out.addresses, out.identities = c.Cluster()
	return out
}
