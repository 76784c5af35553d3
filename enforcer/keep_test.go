package enforcer

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// What somebody else has written over is written again.
func TestMapsWrittenOver(t *testing.T) {
	w := newWorld(t)
	w.veths["10.0.0.1"] = veth(11)
	w.run()
	w.updates <- update("1", []string{"a"}, pod("p", "u1", "10.0.0.1"))
	w.reported("1 in force", isInForce("1"))
	w.wants("envoy a", "maps 10.0.0.1", "attach default/p to 11", "saved 1")
	w.set(func() { w.tampered = []string{"endpoints", "tables"} })
	w.eventuallyFor(2*rescanTicks*tickInterval, "written again", func() string {
		if len(w.tampered) == 0 && len(w.did) == 1 && w.did[0] == "maps 10.0.0.1" {
			return ""
		}
		return "nothing is written"
	})
	if got := testutil.ToFloat64(w.metrics.repairsTotal.WithLabelValues("map")); got != 2 {
		t.Errorf("%v maps are counted as repaired, want 2", got)
	}
}
