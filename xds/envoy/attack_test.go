package envoy

import (
	"slices"
	"sync"
	"testing"

	"github.com/septum-dev/septum/test/attack/requests"
)

// TestAttacks runs the attacks on HTTP policies that the whole data path is tested with.
func TestAttacks(t *testing.T) {
	for _, table := range requests.Tables() {
		t.Run(table.Section+" "+table.Name, func(t *testing.T) {
			up := startRaw(t)
			e := startEnvoy(t, up.addr)
			addr := e.apply(t, classOf("class", table.Rules...))["class"]
			var running sync.WaitGroup
			var want []string
			for _, c := range table.Cases {
				want = append(want, c.Arrives...)
				running.Go(func() { // Envoy takes a second to end a connection that it refuses
					if codes := rawSend(t, addr, c.Method, c.Request, len(c.Codes)); !slices.Equal(codes, c.Codes) {
						t.Errorf("%s: got %v, want %v", c.Name, codes, c.Codes)
					}
				})
			}
			running.Wait()
			got := up.take()
			slices.Sort(got)
			slices.Sort(want)
			missing, extra := difference(want, got), difference(got, want)
			if len(missing)+len(extra) > 0 {
				t.Errorf("the server did not get %.400q, and got %.400q", missing, extra)
			}
		})
	}
}

// difference is what of a is not in b; both are sorted.
func difference(a, b []string) []string {
	var out []string
	for _, s := range a {
		if i, found := slices.BinarySearch(b, s); found {
			b = slices.Delete(slices.Clone(b), i, i+1)
		} else {
			out = append(out, s)
		}
	}
	return out
}
