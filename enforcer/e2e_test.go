package enforcer_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/cni"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
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

	t.Run("counters", func(*testing.T) {
		n.reported("what was allowed and denied", func(r *septumpb.NodeReport) bool {
			return len(r.Counters) == 1 && r.Counters[0].Name == "allow-get-products" &&
				r.Counters[0].Allowed >= 2 && r.Counters[0].Denied >= 5 && r.Counters[0].LastDenied > 0
		})
	})
	t.Run("flows", func(t *testing.T) {
		out, err := exec.Command(program(t, "enforcer"), "flows", "--last=0", "--socket="+n.path("hubble.sock")).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, want := range []string{
			`http-request FORWARDED \(HTTP/1.1 GET http://.*/data\)`,
			`http-response FORWARDED \(HTTP/1.1 200 \d+ms \(GET http://.*/data\)\)`,
			`http-request DROPPED \(HTTP/1.1 POST http://.*/data\)`,
			`policy-verdict:none INGRESS DENIED BY allow-get-products \(CiliumNetworkPolicy\) \(TCP\)`,
			`demo/stranger:\d+ .* Policy denied DROPPED \(TCP\)`,
		} {
			if !regexp.MustCompile(want).Match(out) {
				t.Errorf("no flow is %s in\n%s", want, out)
			}
		}
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
		must(t, n.proxy.cmd.Process.Signal(syscall.SIGSTOP)) // it does not start another one yet
		must(t, syscall.Kill(pids[0], syscall.SIGKILL))
		n.reported("the proxy away", func(r *septumpb.NodeReport) bool { return !r.ProxyReady })
		for range 3 {
			if got := ask(n.httpClient(client, false), "GET", "/data"); !strings.Contains(got, "connection refused") {
				t.Errorf("GET /data without Envoy: %q", got)
			}
		}
		must(t, n.proxy.cmd.Process.Signal(syscall.SIGCONT))
		begun := time.Now()
		n.becomes(client, "GET", "/data", "200 GET /data from "+client)
		t.Logf("back after %v", time.Since(begun).Round(time.Millisecond))
		n.becomes(client, "GET", "/other", denied)
	})
	t.Run("policy deleted", func(*testing.T) {
		n.publish(snapshot())
		for _, from := range []string{client, stranger, remote} {
			n.becomes(from, "POST", "/other", "200 POST /other from "+from)
		}
		n.publish(snapshot("/data"))
		n.becomes(client, "GET", "/other", denied)
		n.becomes(stranger, "GET", "/data", "error: ")
	})
}

// A pod that is scheduled is policed from before its first packet: the enforcer answers
// the plugin when its programs are there, though no one but the plugin knows the address.
func TestPodHeldUntilPoliced(t *testing.T) {
	n := newNode(t)
	pods := func(lateAddr string) policy.Snapshot {
		s := snapshotOf([]testPod{
			{"demo/client", nodeName, "frontend-app", client},
			{"demo/late", nodeName, "late", lateAddr},
			{"demo/server", nodeName, "backend-app", server},
		})
		s.Policies = []policy.Policy{egressPolicy("late", "frontend-app", "GET")}
		if lateAddr == noAddr {
			s.Endpoints[1].Addrs = nil
		}
		return s
	}
	n.publish(snapshot())
	n.reported("the first policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	const addr = "10.244.1.77"
	n.addPod("late", addr)
	request := cni.Request{Namespace: "demo", Name: "late", UID: "uid-demo/late", Addresses: []netip.Addr{netip.MustParseAddr(addr)}}
	hold := func(limit time.Duration) (cni.Reply, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		return cni.Ask(ctx, n.path("cni.sock"), request)
	}
	if reply, err := hold(500 * time.Millisecond); err == nil {
		t.Fatalf("a pod that the operator does not know: %+v", reply)
	}
	n.publish(pods(noAddr))
	if reply, err := hold(10 * time.Second); err != nil || !reply.OK || !reply.Policed {
		t.Fatalf("a pod that is scheduled: %+v, %v", reply, err)
	}
	// Not "becomes": the very first connection is denied.
	denied := func(when string) {
		t.Helper()
		if got := ask(n.httpClient(addr, false), "GET", "/data"); !strings.HasPrefix(got, "error: ") {
			t.Errorf("%s: %q", when, got)
		}
	}
	denied("at its start")
	n.enforcer.kill(syscall.SIGKILL)
	denied("without an enforcer")
	n.startEnforcer()
	n.reported("a new enforcer", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" })
	denied("after a restart")
	version := n.publish(pods(addr))
	n.reported("the operator's word of the address", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version })
	denied("when the operator knows the address")

	must(t, n.enforcer.cmd.Process.Signal(syscall.SIGSTOP))
	if reply, err := hold(time.Second); err == nil {
		t.Errorf("with the enforcer stopped: %+v", reply)
	}
	must(t, n.enforcer.cmd.Process.Signal(syscall.SIGCONT))
}

// noAddr stands for none.
const noAddr = "0.0.0.0"

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

// What is on disk holds when the node comes back without its operator: maps and programs
// are gone as after a reboot, and nothing opens.
func TestRebootWithoutOperator(t *testing.T) {
	n := newNode(t)
	version := n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	n.stopOperator()
	n.proxy.kill(syscall.SIGTERM)
	n.enforcer.kill(syscall.SIGTERM)
	out, err := exec.Command(program(t, "enforcer"), "cleanup", "--run-dir="+n.path("run"), "--state-dir="+n.path("none"),
		"--bpf-dir="+n.path("bpf/septum"), "--flow-socket=none", "--cni-socket="+n.path("cni/cni.sock"),
		"--cni-bin-dir="+n.path("none"), "--cni-conf-dir="+n.path("none")).CombinedOutput()
	if err != nil {
		t.Fatalf("clean up: %v: %s", err, out)
	}
	n.becomes(stranger, "GET", "/data", "200 ") // nothing is left that could deny it
	n.startEnforcer()
	n.becomes(stranger, "GET", "/data", "error: ")
	n.startProxy()
	n.becomes(client, "GET", "/data", "200 GET /data from "+client)
	n.becomes(client, "GET", "/other", denied)
}

// Pods come and go, and pass their addresses on.
func TestPodsComeAndGo(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")

	// The client's address comes to a pod that may nothing, the server's to a new server.
	n.removePod(client)
	n.removePod(server)
	n.addPod("client2", client)
	n.addPod("server2", server)
	n.serve()
	pods := []testPod{
		{"demo/client2", nodeName, "other-app", client},
		{"demo/remote", "node2", "frontend-app", remote},
		{"demo/server2", nodeName, "backend-app", server},
	}
	version := n.publish(snapshotOf(pods, "/data"))
	n.reported("the new pods in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version && len(r.Problems) == 0 })
	n.becomes(remote, "GET", "/data", "200 GET /data from "+remote)
	n.becomes(remote, "GET", "/other", denied)
	n.becomes(client, "GET", "/data", "error: ")
}

// Another proxy pod takes over from the one before.
func TestProxyReplaced(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	n.proxy.kill(syscall.SIGTERM)
	n.proxyPod.Remove()
	if err := n.host.Netlink.LinkDel(n.host.Link("veth-proxy")); err != nil && !errors.As(err, &netlink.LinkNotFoundError{}) {
		t.Logf("the old proxy's veth: %v", err)
	}
	n.reported("the proxy away", func(r *septumpb.NodeReport) bool { return !r.ProxyReady })
	if got := ask(n.httpClient(client, false), "GET", "/data"); strings.HasPrefix(got, "200") {
		t.Errorf("open without a proxy: %q", got)
	}
	n.proxyPod = nstest.Pod(n.host, n.path("netns"), "proxy2", "10.244.1.10", gateway)
	n.startProxy()
	n.becomes(client, "GET", "/data", "200 GET /data from "+client)
	n.becomes(client, "GET", "/other", denied)
	n.becomes(stranger, "GET", "/data", "error: ")
}

// Connections that are open when the first policy comes are judged by it.
func TestConnectionsOlderThanThePolicy(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot())
	n.reported("no policy in force and the proxy ready", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	clients := map[string]*http.Client{}
	for _, from := range []string{client, stranger, remote} {
		clients[from] = n.httpClient(from, true)
		if got := ask(clients[from], "GET", "/other"); !strings.HasPrefix(got, "200") {
			t.Fatalf("GET /other from %s: %q", from, got)
		}
	}
	version := n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version })
	// The old connections were reset: what is asked next goes over a new one at once.
	for from, want := range map[string]string{client: denied, remote: denied, stranger: "error: "} {
		begun := time.Now()
		if got := ask(clients[from], "GET", "/other"); !strings.HasPrefix(got, want) {
			t.Errorf("GET /other from %s after an old connection: %q, want %q", from, got, want)
		}
		if took := time.Since(begun); took > 1500*time.Millisecond { // a connection attempt is given up after 1 s
			t.Errorf("GET /other from %s took %v", from, took)
		}
	}
	n.becomes(client, "GET", "/other", denied)
	n.becomes(remote, "GET", "/data", "200 ")
}

// Both ends of a connection are enforced on one node, in one Envoy.
func TestEgressAndIngress(t *testing.T) {
	n := newNode(t)
	s := snapshot("/data")
	s.Policies = append(s.Policies, egressPolicy("frontend-app", "backend-app", "GET|PUT"))
	version := n.publish(s)
	n.reported("the policies in force", func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == version && r.ProxyReady && len(r.Problems) == 0
	})
	n.becomes(client, "GET", "/data", "200 GET /data from "+client)
	n.becomes(client, "GET", "/other", denied) // by the server's ingress
	n.becomes(client, "POST", "/data", denied) // by the client's egress
	n.becomes(remote, "GET", "/data", "200 ")  // whose egress is another node's
	n.becomes(stranger, "GET", "/data", "error: ")
	n.reported("each policy's counters", func(r *septumpb.NodeReport) bool {
		return len(r.Counters) == 2 && r.Counters[0].Allowed >= 2 && r.Counters[0].Denied >= 1 && r.Counters[1].Allowed >= 2 && r.Counters[1].Denied >= 1
	})
}
