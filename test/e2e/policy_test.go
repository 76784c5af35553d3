//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample reads one of the sample policies.
func (c cluster) sample(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, "config/samples", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// apply applies a policy and waits until it is enforced in this very form. All policies of
// the namespace go when the test ends.
func (c cluster) apply(t *testing.T, status, policy string) {
	t.Helper()
	out, err := c.tool(policy, "kubectl", "apply", "-f", "-")
	if err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	t.Cleanup(func() { c.clear(t) })
	c.enforced(t, status)
}

// enforced waits until the status says so of the policy's present generation.
func (c cluster) enforced(t *testing.T, status string) {
	t.Helper()
	kind := map[string]string{"cnp": "ciliumnetworkpolicy", "l7np": "l7networkpolicy"}[strings.Split(status, ".")[0]]
	_, name, _ := strings.Cut(status, ".")
	generation := c.kubectl(t, "-n", "demo", "get", kind, name, "-o", "jsonpath={.metadata.generation}")
	within(t, 60*time.Second, func() string {
		out, _ := c.tool("", "kubectl", "-n", "demo", "get", "l7policystatus", status, "-o",
			`jsonpath={.status.observedGeneration} {.status.conditions[?(@.type=="Enforced")].status}`)
		if out == generation+" True" {
			return ""
		}
		return "want generation " + generation + " True, status says " + out
	})
}

// clear removes every policy and waits until everything answers again.
func (c cluster) clear(t *testing.T) {
	t.Helper()
	c.kubectl(t, "-n", "demo", "delete", "ciliumnetworkpolicy,l7networkpolicy", "--all")
	c.holds(t, 20*time.Second, open())
}

func TestSample(t *testing.T) {
	c := here()
	c.clear(t)
	for _, test := range []struct{ name, file, status string }{
		{"Cilium", "allow-get-data.yaml", "cnp.allow-get-products"},
		{"native", "allow-get-data-native.yaml", "l7np.allow-get-products"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.apply(t, test.status, c.sample(t, test.file))
			// Enforced means that it holds now: no waiting for the first row to become true.
			for _, r := range sampleTruth() {
				if complaint := c.check(t, r); complaint != "" {
					t.Error(complaint)
				}
			}
			nodes := c.kubectl(t, "-n", "demo", "get", "l7policystatus", test.status, "-o", "jsonpath={.status.enforcing}")
			if nodes != "1/1" {
				t.Errorf("enforcing is %q, want 1/1: backend-app has one pod", nodes)
			}
			t.Run("deleted", func(t *testing.T) { c.clear(t) })
		})
	}
}

func TestNewPodIsPoliced(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.kubectl(t, "-n", "demo", "rollout", "restart", "deployment/backend-app")
	c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/backend-app", "--timeout=60s")
	c.holds(t, 20*time.Second, sampleTruth())

	c.kubectl(t, "-n", "demo", "rollout", "restart", "deployment/frontend-app")
	c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/frontend-app", "--timeout=60s")
	c.holds(t, 20*time.Second, sampleTruth())
}

func TestEditActsOnLiveConnection(t *testing.T) {
	c := here()
	policy := c.sample(t, "allow-get-data.yaml")
	c.apply(t, "cnp.allow-get-products", policy)
	for _, client := range []string{"frontend-app", "frontend-remote"} {
		t.Run(client, func(t *testing.T) {
			// One connection, kept open over both edits.
			live := c.load(t, client, 20*time.Second, "-same", "-every", "50ms", "http://backend-app/other")
			time.Sleep(2 * time.Second)
			c.edit(t, strings.Replace(policy, "path: /data", "path: /other", 1))
			time.Sleep(2 * time.Second)
			c.edit(t, policy)
			outcomes, err := live.wait(t)
			if want := []string{"403", "200", "403"}; err != nil || !slices.Equal(outcomes, want) {
				t.Errorf("outcomes on one connection are %q (%v), want %q", outcomes, err, want)
			}
		})
	}
}

// edit applies the changed Cilium sample and waits until it is enforced.
func (c cluster) edit(t *testing.T, policy string) {
	t.Helper()
	if out, err := c.tool(policy, "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	c.enforced(t, "cnp.allow-get-products")
}
