//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestUninstall is the last test, by its file's name: Septum goes while a policy is in force and
// under load. What was denied stays so until its node is clean; then nothing is left, and
// everything works as if Septum had never been there.
func TestUninstall(t *testing.T) {
	c := here()
	if out, err := c.tool(c.sample(t, "allow-get-data.yaml"), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	c.enforced(t, "cnp.allow-get-products")
	c.holds(t, 10*time.Second, sampleTruth())
	if out, err := c.tool("", "helm", "uninstall", "septum", "-n", "septum-system", "--wait", "--timeout", "150s"); err != nil {
		t.Fatalf("helm uninstall: %v\n%s", err, out)
	}
	// The applications' own traffic, new pods too: the list of plugins names no program that is gone.
	c.kubectl(t, "-n", "demo", "rollout", "restart", "deployment/other-app")
	c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/other-app", "--timeout=90s")
	c.holds(t, 20*time.Second, open())

	for _, node := range []string{"node1", "node2"} {
		for what, script := range map[string]string{
			"pinned programs and maps": "ls -d /sys/fs/bpf/septum",
			"interfaces":               "ip -o link | grep l7p",
			// The directories themselves were mounted into the pod that cleaned up.
			"state and sockets":  "find /var/lib/septum /run/septum ! -type d",
			"the plugin":         "ls /opt/cni/bin/septum-cni",
			"the plugin's entry": "grep -rl septum /etc/cni/net.d",
			"processes":          "pidof septum-enforcer septum-proxy envoy",
		} {
			if left := c.node(t, node, "("+script+") 2>/dev/null || true"); left != "" {
				t.Errorf("%s: %s are left: %s", node, what, left)
			}
		}
	}
	for _, kind := range []string{"pods,daemonsets,deployments,services,secrets,configmaps,leases", "clusterroles,clusterrolebindings"} {
		if left := c.kubectl(t, "-n", "septum-system", "get", kind, "-l", "app.kubernetes.io/name=septum", "-o", "name"); left != "" {
			t.Errorf("objects are left: %s", strings.ReplaceAll(left, "\n", " "))
		}
	}
	// Policies are the user's, and stay.
	c.kubectl(t, "-n", "demo", "get", "ciliumnetworkpolicy", "allow-get-products")
}
