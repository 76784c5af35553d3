//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

// TestUpgradeAndRollBack goes to a release with other images and back, under load. With the proxies' strategy OnDelete only
// the operator and the enforcers are replaced, and no request fails. Then the proxies are, by hand, as docs/operations.md says,
// and the roll-back replaces everything, one node at a time: what is allowed may be refused for a moment. What is denied is
// denied all the while.
func TestUpgradeAndRollBack(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	for _, node := range []string{"node1", "node2"} {
		for _, image := range []string{"operator", "enforcer", "envoy"} {
			name := "docker.io/library/septum-" + image
			c.node(t, node, "ctr -a /run/containerd/containerd.sock -n k8s.io images tag --force "+name+":dev "+name+":next")
		}
	}
	for _, step := range []struct {
		name string
		args []string
		// length is that of the load.
		length time.Duration
		// rolled are what the step replaces.
		rolled []string
	}{
		{"upgrade", []string{"upgrade", "septum", "charts/septum", "--reuse-values",
			"--set", "image.tag=next,proxy.updateStrategy.type=OnDelete,proxy.updateStrategy.rollingUpdate=null"}, 30 * time.Second,
			[]string{"deployment/septum-operator", "daemonset/septum-enforcer"}},
		{"roll back", []string{"rollback", "septum"}, 45 * time.Second,
			[]string{"deployment/septum-operator", "daemonset/septum-enforcer", "daemonset/septum-proxy"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			allowed := []*load{
				c.load(t, "frontend-app", step.length, "-every", "20ms", "http://backend-app/data"),
				c.load(t, "frontend-remote", step.length, "-every", "20ms", "http://backend-app/data"),
			}
			denied := map[*load]string{
				c.load(t, "frontend-remote", step.length, "-every", "20ms", "http://backend-app/other"):               "403",
				c.load(t, "other-app", step.length, "-every", "20ms", "-timeout", "500ms", "http://backend-app/data"): "no answer",
			}
			time.Sleep(time.Second)
			c.helm(t, append(step.args, "-n", "septum-system")...)
			for _, workload := range step.rolled {
				c.kubectl(t, "-n", "septum-system", "rollout", "status", workload, "--timeout=120s")
			}
			c.holds(t, 30*time.Second, sampleTruth())
			for _, l := range allowed {
				outcomes, _ := l.wait(t)
				if len(step.rolled) == 2 && (len(outcomes) != 1 || outcomes[0] != "200") {
					t.Errorf("%s: an allowed request failed, though the proxies stay: %q", l.name, outcomes)
				}
			}
			for l, want := range denied {
				outcomes, _ := l.wait(t)
				for _, outcome := range outcomes {
					if !strings.HasPrefix(outcome, want) && !strings.HasPrefix(outcome, "no answer") {
						t.Errorf("%s: opened: %s", l.name, outcome)
					}
				}
			}
		})
		if len(step.rolled) == 2 {
			c.kubectl(t, "-n", "septum-system", "delete", "pods", "-l", "app.kubernetes.io/component=proxy")
			within(t, 90*time.Second, func() string {
				images := c.kubectl(t, "-n", "septum-system", "get", "pods", "-l", "app.kubernetes.io/component=proxy", "-o", `jsonpath={range .items[*]}{.spec.containers[*].image}{end} {.items[*].status.conditions[?(@.type=="Ready")].status}`)
				if strings.Contains(images, ":dev") || !strings.HasSuffix(images, " True True") {
					return "the proxies are " + images
				}
				return ""
			})
		}
	}
	// The roll-back is only tested if it replaced the proxies, too.
	if images := c.kubectl(t, "-n", "septum-system", "get", "pods", "-o", "jsonpath={.items[*].spec.containers[*].image}"); strings.Contains(images, ":next") {
		t.Errorf("after the roll-back these images run: %s", images)
	}
}
