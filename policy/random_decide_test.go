package policy_test

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/draw"
)

// checkAgainstNaive draws a snapshot and compares Decide with the naive reading.
func checkAgainstNaive(t *testing.T, data []byte, seen map[policy.Verdict]int) {
	d := &draw.Draw{Data: data}
	s := d.Snapshot()
	c := policy.Compile(s)
	nodes := map[string]policy.NodePolicy{}
	for _, name := range []string{"n1", "n2"} {
		nodes[name] = policy.WithLearnt(c.Node(name), draw.Learnt())
		if again := policy.WithLearnt(policy.Resolve(s, name), draw.Learnt()); !reflect.DeepEqual(nodes[name], again) {
			t.Fatalf("a second Resolve differs:\n%+v\n%+v", nodes[name], again)
		}
	}
	for range 24 {
		req := d.Request(s)
		node := ""
		for _, e := range s.Endpoints {
			if e.Addrs[0] == req.Endpoint {
				node = e.Node
			}
		}
		got, want := policy.Decide(nodes[node], req), policy.DecideNaively(s, draw.Learnt(), req)
		seen[want]++
		if got.Verdict == policy.Forwarded && want == policy.Audited && slices.ContainsFunc(draw.Learnt(), func(l policy.Learnt) bool { return l.Addr == req.Peer }) {
			// An address that is several identities at once: that a rule audits one of them is
			// not known where nothing allows that one.
			continue
		}
		if got.Verdict != want {
			t.Fatalf("%+v on %s (HTTP %+v):\n Decide says %+v, the rules say %d\nsnapshot %+v", req, node, req.HTTP, got, want, s)
		}
	}
	for _, np := range nodes {
		checkSorted(t, np)
	}
}

func checkSorted(t *testing.T, np policy.NodePolicy) {
	for _, table := range np.Tables {
		for i := 1; i < len(table.Entries); i++ {
			if policy.CompareEntries(table.Entries[i-1], table.Entries[i]) >= 0 {
				t.Fatalf("entries out of order or twice: %+v", table.Entries)
			}
		}
		for _, e := range table.Entries {
			ok := slices.ContainsFunc(np.Classes, func(c policy.Class) bool { return c.ID == e.Class })
			if ok != (e.Verdict == policy.Redirected) || e.Protocol == policy.ProtocolAny && (e.Port != 0 || e.PrefixLen != 0) || e.PrefixLen > 16 {
				t.Fatalf("bad entry %+v", e)
			}
		}
	}
	for i := 1; i < len(np.Addresses); i++ {
		if policy.CompareAddresses(np.Addresses[i-1], np.Addresses[i]) >= 0 {
			t.Fatalf("addresses out of order or twice: %+v", np.Addresses)
		}
	}
}

func TestDecideAgainstNaive(t *testing.T) {
	rounds := 4000
	if testing.Short() {
		rounds = 400
	}
	seen := map[policy.Verdict]int{}
	for seed := range rounds {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		checkAgainstNaive(t, data, seen)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	for _, v := range []policy.Verdict{policy.Denied, policy.Forwarded, policy.Redirected, policy.Audited} {
		if seen[v] < rounds/8 {
			t.Errorf("verdict %d came only %d times: %v", v, seen[v], seen)
		}
	}
}

func FuzzDecide(f *testing.F) {
	f.Add([]byte("a snapshot, drawn from these bytes"))
	f.Fuzz(func(t *testing.T, data []byte) {
		checkAgainstNaive(t, data[:min(len(data), 2000)], map[policy.Verdict]int{})
	})
}
