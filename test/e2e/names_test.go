//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The world's server, by the names that the cluster's DNS knows (test/cluster/manifests/coredns.yaml).
const (
	worldNamed, worldNamed6 = "10.99.0.80", "fd00:10:99::80"
	worldOther              = "10.99.0.81"
	clusterDNS              = "10.96.0.10:53"
)

// app runs the demo's program in a pod of a deployment, and returns the first line it prints.
func (c cluster) app(deployment, stdin string, args ...string) string {
	out, _ := c.tool(stdin, append([]string{"kubectl", "-n", "demo", "exec", "-i", "deployment/" + deployment, "--", "/septum-demo"}, args...)...)
	line, _, _ := strings.Cut(out, "\n")
	return line
}

// a line is one call of the demo's program, and what its output must begin with.
type line struct {
	from string
	args []string
	want string
}

func (c cluster) printed(t *testing.T, lines []line) {
	t.Helper()
	for _, l := range lines {
		within(t, 30*time.Second, func() string {
			if got := c.app(l.from, "", l.args...); !strings.HasPrefix(got, l.want) {
				return fmt.Sprintf("%s %v: want %q, got %q", l.from, l.args, l.want, got)
			}
			return ""
		})
	}
}

func visitName(from, url, want string) line {
	return line{from, []string{"get", "-timeout", "3s", url}, want}
}

func ask(from, name, want string, options ...string) line {
	return line{from, append(append([]string{"lookup", "-server", clusterDNS}, options...), name), want}
}

// counts are the verdicts that a policy's status counts.
func (c cluster) counts(t *testing.T, status string) (allowed, denied int) {
	t.Helper()
	out := c.kubectl(t, "-n", "demo", "get", "l7policystatus", status, "-o", "jsonpath={.status.allowed} {.status.denied}")
	if _, err := fmt.Sscan(out, &allowed, &denied); err != nil {
		t.Fatalf("counts of %s: %q: %v", status, out, err)
	}
	return allowed, denied
}

// TestEgressByName: what the cluster's DNS says of a name opens the rule's port, on both nodes and
// in both families, and nothing else.
func TestEgressByName(t *testing.T) {
	c := here()
	for _, test := range []struct{ file, status, other string }{
		{"egress-by-name.yaml", "cnp.egress-by-name", "200 "},
		{"egress-by-name-native.yaml", "l7np.egress-by-name", "403 Access denied"},
	} {
		t.Run(test.file, func(t *testing.T) {
			c.clear(t)
			c.apply(t, test.status, c.sample(t, test.file))
			for _, from := range []string{"frontend-app", "frontend-remote"} {
				// Before it has asked, the address is closed; by the name, the first attempt is answered.
				if got := c.app(from, "", "get", "-timeout", "1s", "http://"+worldNamed+"/data"); !strings.HasPrefix(got, "no answer") {
					t.Errorf("%s: an address that nobody has asked for: %q", from, got)
				}
				if got := c.app(from, "", "get", "-timeout", "5s", "http://api.example.com/data"); !strings.HasPrefix(got, "200 ") || !c.isOwn(t, from, got) {
					t.Errorf("%s: the first request by name: %q", from, got)
				}
				lines := []line{
					visitName(from, "http://"+worldNamed+"/data", "200 "),
					visitName(from, "http://api.example.com/other", test.other),
					visitName(from, "https://api.example.com/data", "no answer: timed out"),
					visitName(from, "http://"+worldOther+"/data", "no answer: timed out"),
					visitName(from, "http://www.example.com/data", "no answer: the name is not known"),
					visitName(from, "http://backend-app/data", "200 "),
				}
				if hasIPv6() {
					lines = append(lines, visitName(from, "http://"+net.JoinHostPort(worldNamed6, "80")+"/data", "200 "))
				}
				c.printed(t, lines)
			}
			c.printed(t, []line{visitName("other-app", "http://www.example.com/data", "200 ")})
		})
	}
}

// isOwn says whether the server saw one of the client pod's own addresses.
func (c cluster) isOwn(t *testing.T, from, answer string) bool {
	t.Helper()
	for _, addr := range strings.Fields(c.kubectl(t, "-n", "demo", "get", "pods", "-l", "client="+from, "--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIPs[*].ip}")) {
		if strings.HasSuffix(answer, " from "+addr) {
			return true
		}
	}
	return false
}

// TestLookups: questions to the cluster's DNS by its service, over UDP and TCP; the status counts
// each of them once.
func TestLookups(t *testing.T) {
	c := here()
	c.clear(t)
	c.apply(t, "cnp.dns-names", c.sample(t, "dns-names.yaml"))
	allowed, denied := 0, 0
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		for _, options := range [][]string{nil, {"-tcp"}} {
			for name, want := range map[string]string{
				"api.example.com": "NOERROR " + worldNamed, "API.Example.com": "NOERROR " + worldNamed, "backend-app.demo.svc.cluster.local": "NOERROR 10.96.",
				"www.example.com": "REFUSED", "kubernetes.default.svc.cluster.local": "REFUSED", "api.www.example.com": "REFUSED",
			} {
				l := ask(from, name, want, options...)
				if got := c.app(from, "", l.args...); !strings.HasPrefix(got, want) {
					t.Errorf("%s %v: want %q, got %q", from, l.args, want, got)
				}
				if want == "REFUSED" {
					denied++
				} else {
					allowed++
				}
			}
		}
	}
	// A connection of TCP counts as what was asked on it.
	within(t, 30*time.Second, func() string {
		if a, d := c.counts(t, "cnp.dns-names"); a != allowed || d != denied {
			return fmt.Sprintf("the status counts %d allowed and %d denied, there were %d and %d questions", a, d, allowed, denied)
		}
		return ""
	})
	denial := c.kubectl(t, "-n", "demo", "get", "l7policystatus", "cnp.dns-names", "-o", "jsonpath={.status.lastDenial.summary}")
	if !strings.Contains(denial, "DNS") {
		t.Errorf("the last denial is %q", denial)
	}
}

// TestServerNames: TLS to the world by the name that the client says.
func TestServerNames(t *testing.T) {
	c := here()
	c.clear(t)
	c.apply(t, "l7np.server-names", c.sample(t, "server-names.yaml"))
	for _, from := range []string{"frontend-app", "frontend-remote"} {
		c.printed(t, []line{
			visitName(from, "https://api.example.com/data", "200 "),
			visitName(from, "https://www.example.com/data", "no answer: connection reset"),
			// What counts is the name, and not where it leads to.
			{from, []string{"get", "-connect", worldOther + ":443", "https://api.example.com/data"}, "200 "},
			{from, []string{"get", "-connect", worldNamed + ":443", "https://www.example.com/data"}, "no answer: connection reset"},
			visitName(from, "https://"+worldNamed+"/data", "no answer: connection reset"),
			{from, []string{"get", "-connect", worldNamed + ":443", "http://api.example.com/data"}, "no answer: connection"},
			visitName(from, "http://api.example.com/data", "no answer: timed out"),
		})
	}
	within(t, 30*time.Second, func() string {
		out := c.kubectl(t, "-n", "demo", "get", "l7policystatus", "l7np.server-names", "-o", "jsonpath={.status.allowed} {.status.denied}")
		for _, number := range strings.Fields(out) {
			if n, err := strconv.Atoi(number); err != nil || n < 4 {
				return "the status counts " + out
			}
		}
		return ""
	})
}
