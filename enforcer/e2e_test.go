package enforcer_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/xds/septumpb"
)

const denied = "403 Access denied\r\n"

// The sample policy on a node with the real parts: operator's stream, enforcer, BPF
// programs, launcher and Envoy.
func TestSamplePolicy(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot())
	n.reported("no policy in force and the proxy ready", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	for _, from := range []string{client, stranger, remote} {
		n.becomes(from, "POST", "/other", "200 POST /other from "+from)
	}
	version := n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == version && r.ProxyReady && len(r.Problems) == 0
	})
	for _, from := range []string{client, remote} {
		n.becomes(from, "GET", "/data", "200 GET /data from "+from)
		n.becomes(from, "GET", "/other", denied)
		n.becomes(from, "POST", "/data", denied)
	}
	n.becomes(stranger, "GET", "/data", "error: ")

	t.Run("counters", func(t *testing.T) {
		n.reported("what was allowed and denied", func(r *septumpb.NodeReport) bool {
			return len(r.Counters) == 1 && r.Counters[0].Name == "allow-get-products" &&
				r.Counters[0].Allowed == 2 && r.Counters[0].Denied >= 5 && r.Counters[0].LastDenied > 0
		})
	})
	t.Run("rule edited", func(t *testing.T) {
		same := n.httpClient(client, true)
		if got := ask(same, "GET", "/data"); !strings.HasPrefix(got, "200 ") {
			t.Fatalf("GET /data: %q", got)
		}
		version := n.publish(snapshot("/other"))
		n.reported("the edited policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version })
		if got := ask(same, "GET", "/data"); got != denied {
			t.Errorf("GET /data on the old connection: %q", got)
		}
		n.becomes(client, "GET", "/other", "200 ")
		n.publish(snapshot("/data"))
		n.becomes(client, "GET", "/data", "200 ")
	})
	t.Run("Envoy killed", func(t *testing.T) {
		pids := n.envoyPids()
		if len(pids) != 1 {
			t.Fatalf("Envoys: %v", pids)
		}
		must(t, syscall.Kill(pids[0], syscall.SIGSTOP)) // so that the next is not there before it is asked
		must(t, syscall.Kill(pids[0], syscall.SIGKILL))
		for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); {
			if got := ask(n.httpClient(client, false), "GET", "/other"); strings.HasPrefix(got, "200") {
				t.Fatalf("open without Envoy: %q", got)
			}
		}
		begun := time.Now()
		n.becomes(client, "GET", "/data", "200 GET /data from "+client)
		t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
		n.becomes(client, "GET", "/other", denied)
	})
	t.Run("policy deleted", func(t *testing.T) {
		n.publish(snapshot())
		for _, from := range []string{client, stranger, remote} {
			n.becomes(from, "POST", "/other", "200 POST /other from "+from)
		}
		n.publish(snapshot("/data"))
		n.becomes(client, "GET", "/other", denied)
		n.becomes(stranger, "GET", "/data", "error: ")
	})
}

// An enforcer that is killed, stays away and comes back costs no request.
func TestEnforcerRestart(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")

	stop := make(chan struct{})
	var wg sync.WaitGroup
	results := make(chan string, 64)
	for _, l := range []struct {
		from, path, want string
		reuse            bool
	}{
		{client, "/data", "200 GET /data from " + client, false},
		{client, "/data", "200 GET /data from " + client, true},
		{remote, "/data", "200 GET /data from " + remote, false},
		{remote, "/other", denied, true},
	} {
		wg.Go(func() {
			c := n.httpClient(l.from, l.reuse)
			results <- load(stop, c, l.path, l.want)
		})
	}
	time.Sleep(time.Second)
	n.enforcer.kill(syscall.SIGKILL)
	time.Sleep(2 * time.Second)
	n.startEnforcer()
	n.reported("the proxy ready again", func(r *septumpb.NodeReport) bool { return r.ProxyReady && r.NodeVersion != "" })
	time.Sleep(2 * time.Second)
	close(stop)
	wg.Wait()
	close(results)
	for r := range results {
		if !strings.HasPrefix(r, "ok") {
			t.Error(r)
		}
		t.Log(r)
	}
	n.publish(snapshot("/other"))
	n.becomes(client, "GET", "/other", "200 ")
	n.becomes(stranger, "GET", "/other", "error: ")
}

// load asks again and again, and says what went wrong first, or how many were answered.
func load(stop <-chan struct{}, c *http.Client, path, want string) string {
	for count := 0; ; count++ {
		select {
		case <-stop:
			return fmt.Sprintf("ok: %d requests of %s", count, path)
		default:
		}
		if got := ask(c, "GET", path); got != want {
			return fmt.Sprintf("request %d of %s: %q, want %q", count, path, got, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}
