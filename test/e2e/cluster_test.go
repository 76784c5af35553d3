//go:build e2e

// Package e2e checks what a user sees of Septum on a real cluster: the demo's own cluster,
// chart, images and applications, under another name, so that a demo that is up is left
// alone. It needs root.
//
//	go test -tags e2e -count=1 -timeout 30m ./test/e2e
//
// SEPTUM_E2E_KEEP=1 leaves the cluster up afterwards, and uses it again the next time.
package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// clusterName is the name of the cluster that the tests have for themselves.
const clusterName = "septum-e2e"

// cluster runs commands against the cluster under test.
type cluster struct {
	root string
}

func here() cluster {
	root, err := filepath.Abs("../..")
	if err != nil {
		panic(err)
	}
	return cluster{root: root}
}

func TestMain(m *testing.M) {
	c := here()
	if err := c.demo("install"); err != nil {
		fmt.Fprintln(os.Stderr, "bring up the cluster:", err)
		c.end()
		os.Exit(1)
	}
	code := m.Run()
	if code != 0 {
		if err := c.demo("diagnose"); err != nil {
			fmt.Fprintln(os.Stderr, "diagnose:", err)
		}
	}
	c.end()
	os.Exit(code)
}

func (c cluster) end() {
	if os.Getenv("SEPTUM_E2E_KEEP") != "" {
		return
	}
	if err := c.demo("down"); err != nil {
		fmt.Fprintln(os.Stderr, "end the cluster:", err)
	}
}

// demo runs the demo's script with its output shown.
func (c cluster) demo(what string) error {
	cmd := c.command(context.Background(), filepath.Join(c.root, "test/demo/demo.sh"), what)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// command is a command for the cluster under test, from the repository's root.
func (c cluster) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = c.root
	// Empty ones count as not set: the places follow from the name.
	cmd.Env = append(os.Environ(), "CLUSTER="+clusterName, "SEPTUM_STATE=", "SEPTUM_KUBECONFIG=")
	return cmd
}

// tool runs one of the cluster tool's commands and returns its output, errors included.
func (c cluster) tool(stdin string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := c.command(ctx, filepath.Join(c.root, "test/cluster/cluster"), args...)
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// kubectl returns the output of a kubectl command that must succeed.
func (c cluster) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.tool("", append([]string{"kubectl"}, args...)...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// node runs a shell command inside a node.
func (c cluster) node(t *testing.T, node, script string) string {
	t.Helper()
	out, err := c.tool("", "node", node, "sh", "-c", script)
	if err != nil {
		t.Fatalf("on %s: %s: %v\n%s", node, script, err, out)
	}
	return out
}

// within repeats check until it returns "", and fails with its last complaint.
func within(t *testing.T, limit time.Duration, check func() string) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		complaint := check()
		if complaint == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", limit, complaint)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
