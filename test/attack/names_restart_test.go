package attack

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/test/attack/node"
)

// lookUpsThroughProxyRestart kills the node's own proxy while names are looked up. Who asks again,
// as resolvers do, is answered, and never by something else; what has been learnt stays open all the
// time; and what the new proxy is told is learnt.
func lookUpsThroughProxyRestart(t *testing.T, n *node.Node, z *zone, client *node.Pod, server string) {
	t.Helper()
	stop := make(chan struct{})
	var all sync.WaitGroup
	asked, again := 0, 0
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
			asked++
			for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				m, err := lookUp(t, client, "udp", server, "www.example.com.")
				if err == nil && (m.RCode != dnsmessage.RCodeSuccess || len(m.Answers) != 1) {
					t.Errorf("answered %v while the proxy restarts", m)
				}
				if err == nil {
					break
				}
				if again++; time.Now().After(deadline) {
					t.Errorf("a lookup is not answered any more: %v", err)
					return
				}
			}
		}
	})
	connected := 0
	all.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
			}
			if connected++; !reaches(t, client, outside+":80") {
				t.Error("an address that had been learnt is closed while the proxy restarts")
			}
		}
	})
	for range 3 {
		killed := n.Own()
		if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if m, err := lookUp(t, client, "udp", server, "free.example.net."); err == nil && len(m.Answers) == 1 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("no proxy answers any more")
			}
		}
	}
	close(stop)
	all.Wait()
	t.Logf("%d lookups, %d questions asked again; %d connections", asked, again, connected)
	z.mu.Lock()
	z.records["late.example.com."] = []dnsmessage.Resource{addressOf("late.example.com.", outsideLate, 60)}
	z.mu.Unlock()
	if reaches(t, client, outsideLate+":80") {
		t.Error("an address that nobody was told is open")
	}
	if m, err := lookUp(t, client, "udp", server, "late.example.com."); err != nil || len(m.Answers) != 1 {
		t.Errorf("late.example.com.: %v, %v", m, err)
	}
	if !reaches(t, client, outsideLate+":80") {
		t.Error("what the new proxy is told is not learnt")
	}
}
