//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// operators are the names of the operator's pods, the leader first.
func (c cluster) operators(t *testing.T) []string {
	t.Helper()
	leader, _, _ := strings.Cut(c.kubectl(t, "-n", "septum-system", "get", "lease", "septum-operator", "-o", "jsonpath={.spec.holderIdentity}"), "_")
	out := []string{leader}
	for _, name := range strings.Fields(c.kubectl(t, "-n", "septum-system", "get", "pods", "-l", "app.kubernetes.io/component=operator",
		"--field-selector=status.phase=Running", "-o", "jsonpath={.items[*].metadata.name}")) {
		if name != leader {
			out = append(out, name)
		}
	}
	return out
}

// TestOperatorReplicasKilled kills the leader, and then the other one, under load: no allowed request
// fails, nothing that is denied is let through, and a change acts although nobody leads.
func TestOperatorReplicasKilled(t *testing.T) {
	c := here()
	policy := c.sample(t, "allow-get-data.yaml")
	wider := strings.Replace(policy, "path: /data", "path: /data|/other", 1)
	c.apply(t, "cnp.allow-get-products", policy)
	c.kubectl(t, "-n", "septum-system", "rollout", "status", "deployment/septum-operator", "--timeout=60s")
	names := c.operators(t)
	if len(names) != 2 {
		t.Fatalf("the operators are %q, want two", names)
	}
	const length = 40 * time.Second
	loads := []*load{
		c.load(t, "frontend-app", length, "-every", "20ms", "-expect", "200", "http://backend-app/data"),
		c.load(t, "frontend-remote", length, "-same", "-every", "20ms", "-expect", "200", "http://backend-app/data"),
		c.load(t, "frontend-remote", length, "-every", "20ms", "-expect", "403", "http://backend-app/"),
	}
	for i, step := range []struct {
		what, pod, policy, answer string
	}{
		{"the leader", names[0], wider, "200"},
		{"the one that was there before", names[1], policy, "403"},
	} {
		if i > 0 { // the one of the first step has a successor, which is to do the work
			c.kubectl(t, "-n", "septum-system", "rollout", "status", "deployment/septum-operator", "--timeout=60s")
		}
		c.kubectl(t, "-n", "septum-system", "delete", "pod", step.pod, "--grace-period=0", "--force", "--wait=false")
		if out, err := c.tool(step.policy, "kubectl", "apply", "-f", "-"); err != nil {
			t.Fatalf("apply: %v\n%s", err, out)
		}
		// It acts before anybody leads again.
		c.holds(t, 10*time.Second, []request{{"frontend-app", "GET", "/other", step.answer}, {"frontend-remote", "GET", "/other", step.answer}})
		t.Logf("%s (%s) is gone, and the change acts", step.what, step.pod)
		c.enforced(t, "cnp.allow-get-products")
	}
	for _, l := range loads {
		if outcomes, err := l.wait(t); err != nil {
			t.Errorf("%s: %v, outcomes %q", l.name, err, outcomes)
		}
	}
	c.holds(t, 10*time.Second, sampleTruth())
}

// connected is how many nodes are connected to the operator's pod.
func (c cluster) connected(t *testing.T, pod string) string {
	t.Helper()
	for line := range strings.Lines(c.kubectl(t, "get", "--raw", "/api/v1/namespaces/septum-system/pods/"+pod+":8080/proxy/metrics")) {
		if n, ok := strings.CutPrefix(line, "septum_nodes_connected "); ok {
			return strings.TrimSpace(n)
		}
	}
	return "unknown"
}

// TestNodesOfAnotherReplica holds that the leader writes what nodes say that are connected to another replica.
func TestNodesOfAnotherReplica(t *testing.T) {
	c := here()
	c.kubectl(t, "-n", "septum-system", "rollout", "status", "deployment/septum-operator", "--timeout=60s")
	policy := c.sample(t, "allow-get-data.yaml")
	c.apply(t, "cnp.allow-get-products", policy)
	names := c.operators(t)
	if len(names) != 2 {
		t.Fatalf("the operators are %q, want two", names)
	}
	leader := names[0]
	// Out of the service, the leader goes on to lead, and the nodes that connect anew come to others.
	c.kubectl(t, "-n", "septum-system", "label", "pod", leader, "--overwrite", "app.kubernetes.io/component=aside")
	t.Cleanup(func() { c.kubectl(t, "-n", "septum-system", "delete", "pod", leader) })
	c.kubectl(t, "-n", "septum-system", "rollout", "status", "deployment/septum-operator", "--timeout=60s")
	c.kubectl(t, "-n", "septum-system", "delete", "pod", "-l", "app.kubernetes.io/component=enforcer")
	within(t, 3*time.Minute, func() string {
		counts := ""
		for _, pod := range c.operators(t)[1:] {
			counts += c.connected(t, pod)
		}
		if own := c.connected(t, leader); own != "0" || counts != "20" && counts != "11" && counts != "02" {
			return own + " nodes are connected to the leader, and to the others " + counts
		}
		return ""
	})
	if now := c.operators(t)[0]; now != leader {
		t.Fatalf("%s leads now, and not %s", now, leader)
	}
	for _, path := range []string{"/other", "/data"} {
		c.edit(t, strings.Replace(policy, "path: /data", "path: "+path, 1))
		if got := c.kubectl(t, "-n", "demo", "get", "l7policystatus", "cnp.allow-get-products", "-o", "jsonpath={.status.enforcing}"); got != "1/1" {
			t.Errorf("enforcing is %q, want 1/1", got)
		}
	}
}
