//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// kill ends a process of every node at once.
func (c cluster) kill(t *testing.T, program string) {
	t.Helper()
	for _, node := range []string{"node1", "node2"} {
		c.node(t, node, "kill -KILL $(pidof "+program+")")
	}
}

func TestEnvoyKilled(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	const length = 15 * time.Second
	// Each kind of request, over the whole outage: what was denied must never be answered.
	allowed := c.load(t, "frontend-app", length, "-every", "10ms", "http://backend-app/data")
	remote := c.load(t, "frontend-remote", length, "-every", "10ms", "http://backend-app/data")
	denied := c.load(t, "frontend-remote", length, "-every", "10ms", "http://backend-app/other")
	stranger := c.load(t, "other-app", length, "-every", "10ms", "-timeout", "500ms", "http://backend-app/data")
	for range 3 {
		time.Sleep(2 * time.Second)
		c.kill(t, "envoy")
	}

	refused := false
	for _, l := range []*load{allowed, remote} {
		outcomes, _ := l.wait(t)
		if last := outcomes[len(outcomes)-1]; outcomes[0] != "200" || last != "200" {
			t.Errorf("%s: began with %q and ended with %q, want 200", l.name, outcomes[0], last)
		}
		refused = refused || len(outcomes) > 1
	}
	if !refused {
		t.Error("no request met the outage: policed connections went past Envoy, or Envoy was not killed")
	}
	for l, want := range map[*load]string{denied: "403", stranger: "no answer"} {
		outcomes, _ := l.wait(t)
		for _, outcome := range outcomes {
			if !strings.HasPrefix(outcome, want) && !strings.HasPrefix(outcome, "no answer") {
				t.Errorf("%s: opened: %s", l.name, outcome)
			}
		}
	}
	c.holds(t, 10*time.Second, sampleTruth())
}

func TestProxyPodDeleted(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	denied := c.load(t, "frontend-app", 20*time.Second, "-every", "10ms", "http://backend-app/other")
	stranger := c.load(t, "other-remote", 20*time.Second, "-every", "10ms", "-timeout", "500ms", "http://backend-app/data")
	time.Sleep(time.Second)
	c.kubectl(t, "-n", "septum-system", "delete", "pods", "-l", "app.kubernetes.io/component=proxy", "--grace-period=1")
	c.kubectl(t, "-n", "septum-system", "rollout", "status", "daemonset/septum-proxy", "--timeout=60s")
	c.holds(t, 20*time.Second, sampleTruth())
	for l, want := range map[*load]string{denied: "403", stranger: "no answer"} {
		outcomes, _ := l.wait(t)
		for _, outcome := range outcomes {
			if !strings.HasPrefix(outcome, want) && !strings.HasPrefix(outcome, "no answer") {
				t.Errorf("%s: opened: %s", l.name, outcome)
			}
		}
	}
}

func TestEnforcerKilledUnderLoad(t *testing.T) {
	c := here()
	policy := c.sample(t, "allow-get-data.yaml")
	c.apply(t, "cnp.allow-get-products", policy)
	const length = 30 * time.Second
	loads := []*load{
		c.load(t, "frontend-app", length, "-every", "10ms", "-expect", "200", "http://backend-app/data"),
		c.load(t, "frontend-remote", length, "-every", "10ms", "-expect", "200", "http://backend-app/data"),
		c.load(t, "frontend-app", length, "-same", "-every", "10ms", "-expect", "200", "http://backend-app/data"),
		c.load(t, "frontend-remote", length, "-every", "10ms", "-expect", "403", "http://backend-app/other"),
	}
	time.Sleep(2 * time.Second)
	c.kill(t, "septum-enforcer")
	time.Sleep(5 * time.Second)
	c.kubectl(t, "-n", "septum-system", "delete", "pods", "-l", "app.kubernetes.io/component=enforcer", "--grace-period=0", "--force")
	c.kubectl(t, "-n", "septum-system", "rollout", "status", "daemonset/septum-enforcer", "--timeout=60s")
	for _, l := range loads {
		if outcomes, err := l.wait(t); err != nil {
			t.Errorf("%s: %v, outcomes %q", l.name, err, outcomes)
		}
	}
	c.holds(t, 10*time.Second, sampleTruth())
	// The new enforcer carries on: it takes changes.
	c.edit(t, strings.Replace(policy, "path: /data", "path: /other", 1))
	c.holds(t, 10*time.Second, []request{
		{"frontend-app", "GET", "/other", "200"}, {"frontend-app", "GET", "/data", "403"},
		{"frontend-remote", "GET", "/other", "200"}, {"other-app", "GET", "/other", "none"},
	})
}

func TestOperatorAway(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.kubectl(t, "-n", "septum-system", "scale", "deployment/septum-operator", "--replicas=0")
	t.Cleanup(func() {
		c.kubectl(t, "-n", "septum-system", "scale", "deployment/septum-operator", "--replicas=2")
		c.kubectl(t, "-n", "septum-system", "rollout", "status", "deployment/septum-operator", "--timeout=60s")
	})
	c.kubectl(t, "-n", "septum-system", "wait", "--for=delete", "pods", "-l", "app.kubernetes.io/component=operator", "--timeout=60s")
	// The nodes go on, also from nothing but what they have on disk.
	c.kill(t, "septum-enforcer")
	c.kill(t, "envoy")
	c.holds(t, 30*time.Second, sampleTruth())
}
