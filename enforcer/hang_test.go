package enforcer_test

import (
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/xds/septumpb"
)

// breakage is something that happens to a node under load.
type breakage struct {
	name string
	// broken does it, mend what an administrator would.
	broken, mend func(t *testing.T, n *node)
	// open says that what is allowed goes on all the time.
	open bool
}

// breakages are what R1 to R3 promise to withstand, one at a time and together.
func breakages() []breakage {
	stop := func(p func(*node) *process, s syscall.Signal) func(*testing.T, *node) {
		return func(t *testing.T, n *node) { t.Helper(); must(t, p(n).cmd.Process.Signal(s)) }
	}
	enforcer := func(n *node) *process { return n.enforcer }
	return []breakage{
		{"enforcer stopped", stop(enforcer, syscall.SIGSTOP), stop(enforcer, syscall.SIGCONT), true},
		{"enforcer killed", func(_ *testing.T, n *node) { n.enforcer.kill(syscall.SIGKILL) }, func(_ *testing.T, n *node) { n.startEnforcer() }, true},
		{"Envoy killed", func(t *testing.T, n *node) {
			t.Helper()
			for _, pid := range n.envoyPids() {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}, func(*testing.T, *node) {}, false},
		{"Envoy stopped", func(t *testing.T, n *node) {
			t.Helper()
			for _, pid := range n.envoyPids() {
				must(t, syscall.Kill(pid, syscall.SIGSTOP))
			}
		}, func(*testing.T, *node) {}, false},
		{"operator cut off", func(_ *testing.T, n *node) { n.wire.cut(true) }, func(_ *testing.T, n *node) { n.wire.cut(false) }, true},
		{"operator cut off, and enforcer stopped", func(t *testing.T, n *node) {
			t.Helper()
			n.wire.cut(true)
			must(t, n.enforcer.cmd.Process.Signal(syscall.SIGSTOP))
		}, func(t *testing.T, n *node) {
			t.Helper()
			n.wire.cut(false)
			must(t, n.enforcer.cmd.Process.Signal(syscall.SIGCONT))
		}, true},
		{"enforcer and Envoy stopped", func(t *testing.T, n *node) {
			t.Helper()
			must(t, n.enforcer.cmd.Process.Signal(syscall.SIGSTOP))
			for _, pid := range n.envoyPids() {
				must(t, syscall.Kill(pid, syscall.SIGSTOP))
			}
		}, func(t *testing.T, n *node) { t.Helper(); must(t, n.enforcer.cmd.Process.Signal(syscall.SIGCONT)) }, false},
		{"launcher killed", func(_ *testing.T, n *node) { n.proxy.kill(syscall.SIGKILL) }, func(_ *testing.T, n *node) { n.startProxy() }, false},
		{"operator away, enforcer and Envoy killed", func(t *testing.T, n *node) {
			t.Helper()
			n.stopOperator()
			n.enforcer.kill(syscall.SIGKILL)
			for _, pid := range n.envoyPids() {
				must(t, syscall.Kill(pid, syscall.SIGKILL))
			}
		}, func(_ *testing.T, n *node) { n.startEnforcer() }, false},
	}
}

// Whatever is broken: what is denied never passes, and what is allowed comes back.
func TestBrokenUnderLoad(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	for _, b := range breakages() {
		t.Run(b.name, func(t *testing.T) {
			stop := make(chan struct{})
			var wg sync.WaitGroup
			allowed := []*loadClient{{n: n, from: client}, {n: n, from: remote}, {n: n, from: client, reuse: true}}
			for _, c := range allowed {
				wg.Go(func() { c.run(stop) })
			}
			passed := make(chan int, 3)
			for _, r := range [][2]string{{stranger, "/data"}, {client, "/other"}, {remote, "/other"}} {
				wg.Go(func() { passed <- n.passed(r[0], r[1], stop) })
			}
			time.Sleep(300 * time.Millisecond)
			broken := time.Now()
			b.broken(t, n)
			time.Sleep(1500 * time.Millisecond)
			b.mend(t, n)
			n.becomes(client, "GET", "/data", "200 GET /data from "+client)
			n.becomes(remote, "GET", "/data", "200 GET /data from "+remote)
			back := time.Now()
			time.Sleep(500 * time.Millisecond)
			close(stop)
			wg.Wait()
			for range 3 {
				if got := <-passed; got != 0 {
					t.Errorf("%d denied requests were answered by the server", got)
				}
			}
			for _, c := range allowed {
				t.Logf("%s, same connection %v: %d requests, %d failed", c.from, c.reuse, c.asked, len(c.failed))
				if b.open && len(c.failed) > 0 {
					t.Errorf("%s, same connection %v: %d of %d allowed requests failed; first: %v", c.from, c.reuse, len(c.failed), c.asked, c.failed[0].err)
				}
				for _, f := range c.failed {
					if f.at.Before(broken) || f.asked.After(back) && !f.connected.Before(back) {
						t.Errorf("%s: an allowed request failed before or after the breakage: %v", c.from, f.err)
					}
				}
			}
		})
	}
}

// passed asks for what is denied again and again, and returns how often the server answered.
func (n *node) passed(from, path string, stop <-chan struct{}) int {
	got := 0
	c := n.httpClient(from, false)
	for {
		select {
		case <-stop:
			return got
		default:
		}
		if strings.HasPrefix(ask(c, "GET", path), "200") {
			got++
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// An Envoy that is stopped, and so has its sockets open and answers nobody, is found to be and
// another one takes over; nothing that is denied passes meanwhile.
func TestEnvoyStopped(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	stop := make(chan struct{})
	passed := make(chan int, 2)
	for _, r := range [][2]string{{stranger, "/data"}, {client, "/other"}} {
		go func() { passed <- n.passed(r[0], r[1], stop) }()
	}
	begun := time.Now()
	for _, pid := range n.envoyPids() {
		must(t, syscall.Kill(pid, syscall.SIGSTOP))
	}
	if got := ask(n.httpClient(client, false), "GET", "/data"); strings.HasPrefix(got, "200") && time.Since(begun) < time.Second {
		t.Errorf("answered past a stopped Envoy: %q", got)
	}
	for time.Since(begun) < time.Minute && !strings.HasPrefix(ask(n.httpClient(client, false), "GET", "/data"), "200") {
		time.Sleep(20 * time.Millisecond)
	}
	t.Logf("back after %v", time.Since(begun).Round(100*time.Millisecond))
	n.becomes(client, "GET", "/data", "200 GET /data from "+client)
	close(stop)
	for range 2 {
		if got := <-passed; got != 0 {
			t.Errorf("%d denied requests were answered by the server", got)
		}
	}
	n.proxy.kill(syscall.SIGTERM)
	if log := n.proxy.log.String(); !strings.Contains(log, "it is stopped") {
		t.Error("the launcher does not say that Envoy was stopped")
	}
}
