//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// denyEgress closes the pods that the test starts.
const denyEgress = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: starters, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: starter}}
  egress: [{}]
`

// starters creates pods, on both nodes, whose first instruction is to connect to backend-app.
func (c cluster) starters(t *testing.T, name string, n int) {
	t.Helper()
	backend := c.kubectl(t, "-n", "demo", "get", "pods", "-l", "app=backend-app", "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIP}")
	var pods strings.Builder
	for i := range n {
		fmt.Fprintf(&pods, `
apiVersion: v1
kind: Pod
metadata: {name: %s-%d, namespace: demo, labels: {app: starter, batch: %s}}
spec:
  nodeName: node%d
  restartPolicy: Never
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: app
    image: septum-demo:dev
    imagePullPolicy: Never
    args: [load, -for, 1s, -every, 5ms, -timeout, 150ms, "http://%s/data"]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---`, name, i, name, i%2+1, backend)
	}
	if out, err := c.tool(pods.String(), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("create pods: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		c.kubectl(t, "-n", "demo", "delete", "pods", "-l", "batch="+name, "--grace-period=0", "--force")
	})
}

// said waits until all pods of the batch have ended, and returns what each of them saw.
func (c cluster) said(t *testing.T, batch string, n int, limit time.Duration) []string {
	t.Helper()
	within(t, limit, func() string {
		phases := c.kubectl(t, "-n", "demo", "get", "pods", "-l", "batch="+batch, "-o", "jsonpath={.items[*].status.phase}")
		if ended := strings.Count(phases, "Succeeded") + strings.Count(phases, "Failed"); ended != n {
			return "phases are " + phases
		}
		return ""
	})
	var out []string
	for i := range n {
		log := c.kubectl(t, "-n", "demo", "logs", fmt.Sprintf("%s-%d", batch, i))
		if !strings.Contains(log, "no answer") && !through(log) {
			t.Errorf("%s-%d did not try: %q", batch, i, log)
		}
		out = append(out, log)
	}
	return out
}

// through says whether a request was answered: its line has the time, and then the status.
func through(log string) bool { return strings.Contains(log, "s 200") }

// No pod sends a byte before its policy holds, with the enforcer at work or stopped.
func TestNoPodStartsBeforeItsPolicy(t *testing.T) {
	c := here()
	c.clear(t)
	// Pods that no policy selects start and connect: what follows is the policy's doing.
	c.starters(t, "free", 2)
	for i, log := range c.said(t, "free", 2, time.Minute) {
		if !through(log) {
			t.Errorf("free-%d got nothing: %q", i, log)
		}
	}
	c.apply(t, "cnp.starters", denyEgress)
	closed := func(t *testing.T, batch string, n int, limit time.Duration) {
		t.Helper()
		for i, log := range c.said(t, batch, n, limit) {
			if through(log) {
				t.Errorf("%s-%d got through: %q", batch, i, log)
			}
		}
	}
	t.Run("running", func(t *testing.T) {
		c.starters(t, "held", 20)
		closed(t, "held", 20, 2*time.Minute)
		for _, node := range []string{"node1", "node2"} {
			metrics := c.node(t, node, "curl -s http://127.0.0.1:9965/metrics || wget -qO- http://127.0.0.1:9965/metrics")
			if !strings.Contains(metrics, "septum_enforcer_pods_seen_late_total 0") {
				t.Errorf("%s has seen pods late, or does not say:\n%s", node, metrics)
			}
		}
	})
	t.Run("stopped", func(t *testing.T) {
		signal := func(name string) {
			for _, node := range []string{"node1", "node2"} {
				c.node(t, node, "kill -"+name+" $(pidof septum-enforcer)")
			}
		}
		signal("STOP")
		going := false
		resume := func() {
			if !going {
				signal("CONT")
				going = true
			}
		}
		t.Cleanup(resume)
		// A name of its own: a cluster that is used again still has the events of the last time.
		batch := fmt.Sprintf("stopped-%d", time.Now().Unix())
		c.starters(t, batch, 6)
		within(t, 40*time.Second, func() string {
			events := c.kubectl(t, "-n", "demo", "get", "events", "--field-selector=reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
			if !strings.Contains(events, "septum-cni") || !strings.Contains(events, "demo/"+batch) {
				return "no event names a pod that does not start: " + events
			}
			return ""
		})
		phases := c.kubectl(t, "-n", "demo", "get", "pods", "-l", "batch="+batch, "-o", "jsonpath={.items[*].status.phase}")
		if phases != strings.TrimSpace(strings.Repeat("Pending ", 6)) {
			t.Errorf("phases with the enforcers stopped are %s", phases)
		}
		resume()
		closed(t, batch, 6, 2*time.Minute)
	})
}
