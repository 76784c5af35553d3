package flow

import (
	"net/netip"
	"sync"
	"testing"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
)

// Readers that are slower than the writer see every flow once, in order, or are told that it is gone.
func TestRingWithReaders(t *testing.T) {
	const events = 20_000
	r := recorder(t, Config{Room: 16})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			buf := make([]*flowpb.Flow, 0, 5)
			var seen, lost, from uint64
			for seen+lost < 2*events {
				<-r.ring.wait(from)
				first := from
				flows, next, gone := r.ring.read(from, buf)
				seen, lost, from = seen+uint64(len(flows)), lost+gone, next
				if next != first+gone+uint64(len(flows)) {
					t.Errorf("from %d to %d with %d flows and %d lost", first, next, len(flows), gone)
				}
				for i, f := range flows {
					// A denied packet is two flows: a verdict and a drop.
					if want := (first + gone + uint64(i)) / 2 % 60000; uint64(f.GetL4().GetTCP().GetSourcePort()) != want {
						t.Errorf("flow %d is from port %d, want %d", first+gone+uint64(i), f.GetL4().GetTCP().GetSourcePort(), want)
					}
				}
			}
		})
	}
	for i := range events {
		e := packet(policy.Denied, "policy", "10.0.0.1:1")
		e.Src = netip.AddrPortFrom(e.Src.Addr(), uint16(i%60000))
		r.Add(e, nil)
	}
	readers.Wait()
}

// BenchmarkAdd is what each request costs where nobody reads.
func BenchmarkAdd(b *testing.B) {
	r, err := New(Config{Node: "node"})
	if err != nil {
		b.Fatal(err)
	}
	e := request(policy.Forwarded, "GET", "/data", 200)
	b.ReportAllocs()
	for b.Loop() {
		r.Add(e, nil)
	}
}
