//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A request of a demo client to backend-app, and what must come of it: "200" (with the
// client pod's own address as the server saw it), "403", or "none" for no answer.
type request struct {
	client, method, path string
	want                 string
}

func (r request) String() string {
	return fmt.Sprintf("%s %s %s", r.client, r.method, r.path)
}

// clients are the demo's client deployments: two on each node.
var clients = []string{"frontend-app", "frontend-remote", "other-app", "other-remote"}

// sampleTruth is what the sample policy must do, on one node and across nodes.
func sampleTruth() []request {
	var truth []request
	for _, client := range []string{"frontend-app", "frontend-remote"} {
		truth = append(truth,
			request{client, "GET", "/data", "200"},
			request{client, "GET", "/other", "403"},
			request{client, "GET", "/data/", "403"},
			request{client, "GET", "/", "403"},
			request{client, "POST", "/data", "403"},
			request{client, "HEAD", "/data", "403"},
		)
	}
	for _, client := range []string{"other-app", "other-remote"} {
		truth = append(truth, request{client, "GET", "/data", "none"})
	}
	return truth
}

// open is the truth without any policy.
func open() []request {
	var truth []request
	for _, client := range clients {
		truth = append(truth, request{client, "GET", "/data", "200"}, request{client, "POST", "/other", "200"})
	}
	return truth
}

// check makes the request and returns what is wrong with its outcome, or "".
func (c cluster) check(t *testing.T, r request) string {
	t.Helper()
	out, _ := c.tool("", "kubectl", "-n", "demo", "exec", "deployment/"+r.client, "--",
		"/septum-demo", "get", "-timeout", "2s", "-X", r.method, "http://backend-app"+r.path)
	got, _, _ := strings.Cut(out, "\n")
	ok := false
	switch r.want {
	case "200":
		ok = strings.HasPrefix(got, "200 ") && strings.HasSuffix(got, fmt.Sprintf(" %s %s from %s", r.method, r.path, c.address(t, r.client)))
	case "403":
		// The answer to HEAD has no body.
		ok = got == "403 Access denied" || r.method == "HEAD" && strings.TrimSpace(got) == "403"
	case "none":
		ok = strings.HasPrefix(got, "no answer")
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%s: want %s, got %q", r, r.want, got)
}

// holds checks every row, each until it is so or the limit is over.
func (c cluster) holds(t *testing.T, limit time.Duration, truth []request) {
	t.Helper()
	for _, r := range truth {
		within(t, limit, func() string { return c.check(t, r) })
	}
}

// address is the IP address of the client's pod.
func (c cluster) address(t *testing.T, client string) string {
	t.Helper()
	return c.kubectl(t, "-n", "demo", "get", "pods", "-l", "client="+client,
		"--field-selector=status.phase=Running", "-o", "jsonpath={.items[0].status.podIP}")
}

// load is a client that makes requests in the background.
type load struct {
	name string
	cmd  *exec.Cmd
	out  bytes.Buffer
}

// load starts the demo client's load command with these arguments.
func (c cluster) load(t *testing.T, client string, length time.Duration, args ...string) *load {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), length+time.Minute)
	t.Cleanup(cancel)
	args = append([]string{
		"kubectl", "-n", "demo", "exec", "deployment/" + client, "--",
		"/septum-demo", "load", "-for", length.String(), "-timeout", "2s",
	}, args...)
	l := &load{name: client + " " + strings.Join(args[8:], " ")}
	l.cmd = c.command(ctx, filepath.Join(c.root, "test/cluster/cluster"), args...)
	l.cmd.Stdout, l.cmd.Stderr = &l.out, &l.out
	if err := l.cmd.Start(); err != nil {
		t.Fatalf("start load: %v", err)
	}
	return l
}

// wait returns the outcomes in their order, one for each change, once the load is over.
func (l *load) wait(t *testing.T) ([]string, error) {
	t.Helper()
	err := l.cmd.Wait()
	t.Logf("%s:\n%s", l.name, l.out.String())
	var outcomes []string
	for line := range strings.Lines(l.out.String()) {
		if _, outcome, ok := strings.Cut(strings.TrimSpace(line), "s "); ok && !strings.HasPrefix(line, "requests ") && line[0] >= '0' && line[0] <= '9' {
			outcomes = append(outcomes, outcome)
		}
	}
	if len(outcomes) == 0 {
		t.Fatalf("%s: no outcome at all", l.name)
	}
	return outcomes, err
}
