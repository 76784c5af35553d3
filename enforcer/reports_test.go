package enforcer_test

import (
	"sync"
	"time"

	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

// reports is the operator's observer.
type reports struct {
	mu   sync.Mutex
	last *septumpb.NodeReport
}

func (*reports) Connected(string)                   {}
func (*reports) Disconnected(string)                {}
func (*reports) Acked(string, string, error)        {}
func (*reports) Pushed(string, string, int)         {}
func (*reports) Silent(string)                      {}
func (*reports) Restricted(string, xds.Restriction) {}

func (r *reports) Reported(_ string, report *septumpb.NodeReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = report
}

// reported waits for a report that is good.
func (n *node) reported(what string, good func(*septumpb.NodeReport) bool) {
	n.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		n.reports.mu.Lock()
		last := n.reports.last
		n.reports.mu.Unlock()
		if last != nil && good(last) {
			return
		}
	}
	n.reports.mu.Lock()
	defer n.reports.mu.Unlock()
	n.t.Fatalf("no report with %s; the last is %v", what, n.reports.last)
}
