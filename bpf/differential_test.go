package bpf

import (
	"math/rand/v2"
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/draw"
)

// agree draws a cluster, policies and requests, and compares what the programs do with the
// first packet of each request with what the oracle says. It returns how many reached a program.
func (r *runner) agree(data []byte) int {
	r.t.Helper()
	d := &draw.Draw{Data: data}
	s := d.Snapshot()
	var requests []policy.Request
	for range 24 {
		req := d.Request(s)
		req.HTTP = nil // Envoy's to judge
		requests = append(requests, req)
	}
	compiled := policy.Compile(s)
	judged := 0
	for _, node := range s.Nodes {
		np := compiled.Node(node.Name)
		r.enforce(np)
		for i, req := range requests {
			if req.Peer.Is4() != req.Endpoint.Is4() {
				continue // no packet has both
			}
			got, ok := r.judge(np, req, uint16(40000+i))
			if !ok {
				continue
			}
			judged++
			want := policy.Decide(np, req)
			if want.Verdict == policy.Redirected && req.Protocol != policy.ProtocolTCP {
				want.Verdict = policy.Denied // only TCP can be proxied
			}
			if got != want.Verdict {
				r.t.Fatalf("%+v on %s:\n the programs say %d, the oracle %+v\nsnapshot %+v", req, node.Name, got, want, s)
			}
		}
	}
	return judged
}

// TestAgreesWithOracle is a few rounds of FuzzDatapath, the same ones each time.
func TestAgreesWithOracle(t *testing.T) {
	r := newRunner(t, addr("10.255.255.255"))
	judged := 0
	for seed := range 150 {
		random := rand.New(rand.NewPCG(uint64(seed), 9))
		data := make([]byte, 600)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		judged += r.agree(data)
	}
	if judged < 1000 {
		t.Errorf("only %d requests reached a program", judged)
	}
	t.Logf("%d requests", judged)
}

// FuzzDatapath has the fuzzer steer what is drawn. The maps and programs are those of one
// datapath, from one policy to the next, so that what an earlier one left would show.
func FuzzDatapath(f *testing.F) {
	f.Add([]byte("a snapshot, drawn from these bytes"))
	r := newRunner(f, addr("10.255.255.255"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r.t = t
		r.agree(data[:min(len(data), 2000)])
	})
}
