//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// helm runs helm, which must succeed.
func (c cluster) helm(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.tool("", append([]string{"helm"}, args...)...)
	if err != nil {
		t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// TestReleaseWorks runs what the chart itself says works: its own test, and a rendering that the API server takes whole.
func TestReleaseWorks(t *testing.T) {
	c := here()
	if out := c.helm(t, "test", "septum", "-n", "septum-system", "--timeout", "2m"); !strings.Contains(out, "Succeeded") {
		t.Errorf("helm test says:\n%s", out)
	}
	if left := c.kubectl(t, "-n", "septum-system", "get", "pods,roles,rolebindings,serviceaccounts", "-l", "app.kubernetes.io/component=test", "-o", "name"); left != "" {
		t.Errorf("the test leaves %s", left)
	}
	rendered := c.helm(t, "template", "septum", "charts/septum", "-n", "septum-system", "--no-hooks", "--set", "networkPolicy.enabled=true")
	if out, err := c.tool(rendered, "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("the API server does not take the chart: %v\n%s", err, out)
	}
}
