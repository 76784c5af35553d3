//go:build e2e

package e2e

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestFlowsOfTheCluster has the real Hubble CLI read the operator, which asks both nodes: a
// client's egress is judged on node 2, and the server's ingress on node 1.
func TestFlowsOfTheCluster(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.apply(t, "cnp.remote-may-get", `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: remote-may-get, namespace: demo}
spec:
  endpointSelector: {matchLabels: {client: frontend-remote}}
  egress:
  - toPorts:
    - ports: [{port: "53", protocol: UDP}, {port: "53", protocol: TCP}]
  - toEndpoints: [{}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET}]}
`)
	c.holds(t, 10*time.Second, []request{
		{"frontend-remote", "GET", "/data", "200"}, {"frontend-remote", "GET", "/other", "403"}, {"frontend-remote", "POST", "/data", "403"},
	})
	hubble := c.relay(t)
	type flow struct {
		Time    time.Time
		Verdict string
		Node    string `json:"node_name"`
		L7      struct {
			HTTP struct{ Method, URL string }
		}
	}
	within(t, 20*time.Second, func() string {
		out, err := hubble("observe", "-o", "json", "-n", "demo", "--http-method", "POST", "--http-method", "GET", "--last", "100")
		if err != nil {
			return err.Error() + "\n" + out
		}
		seen, last := map[string]bool{}, time.Time{}
		for _, line := range strings.Split(out, "\n") {
			var res struct{ Flow *flow }
			if json.Unmarshal([]byte(line), &res) != nil || res.Flow == nil {
				continue
			}
			f := res.Flow
			seen[strings.Join([]string{f.Node, f.Verdict, f.L7.HTTP.Method, f.L7.HTTP.URL}, " ")] = true
			if f.Time.Before(last) {
				return "the flows are not in the order of their times"
			}
			last = f.Time
		}
		for _, want := range []string{
			"node1 FORWARDED GET http://backend-app/data", "node2 FORWARDED GET http://backend-app/data",
			"node1 DROPPED GET http://backend-app/other", "node2 DROPPED POST http://backend-app/data",
		} {
			if !seen[want] {
				return "no flow " + want + " in\n" + out
			}
		}
		return ""
	})
	if out, err := hubble("status"); err != nil || !strings.Contains(out, "Connected Nodes: 2/2") {
		t.Errorf("hubble status: %v\n%s", err, out)
	}
}

// relay is the Hubble CLI with a port-forward to the operator and the certificate from the cluster.
func (c cluster) relay(t *testing.T) func(args ...string) (string, error) {
	t.Helper()
	built := exec.Command(filepath.Join(c.root, "test/hubble/build.sh"))
	program, err := built.Output()
	if err != nil {
		t.Fatalf("build the CLI: %v", err)
	}
	dir := t.TempDir()
	for _, key := range []string{"tls.crt", "tls.key", "ca.crt"} {
		text := c.kubectl(t, "-n", "septum-system", "get", "secret", "septum-flow-reader", "-o", "jsonpath={.data."+strings.ReplaceAll(key, ".", `\.`)+"}")
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, key), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := c.command(t.Context(), filepath.Join(c.root, "test/cluster/cluster"), "kubectl", "-n", "septum-system", "port-forward", "svc/septum-hubble-relay", ":443")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	port := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindStringSubmatch(line)
	if err != nil || port == nil {
		t.Fatalf("the port-forward says %q (%v)", line, err)
	}
	return func(args ...string) (string, error) {
		args = append(args, "--server", "127.0.0.1:"+port[1], "--tls", "--tls-server-name", "septum-hubble-relay.septum-system.svc",
			"--tls-ca-cert-files", filepath.Join(dir, "ca.crt"),
			"--tls-client-cert-file", filepath.Join(dir, "tls.crt"), "--tls-client-key-file", filepath.Join(dir, "tls.key"))
		run := exec.CommandContext(t.Context(), strings.TrimSpace(string(program)), args...)
		run.Env = []string{"HOME=" + dir, "TZ=UTC"}
		out, err := run.CombinedOutput()
		return string(out), err
	}
}

// TestDoctor has nothing wrong found in the cluster, then what is broken, and where.
func TestDoctor(t *testing.T) {
	c := here()
	within(t, time.Minute, func() string {
		out, err := c.plugin(t, "doctor")
		if err != nil || !strings.Contains(out, "on 2 nodes, of which 2 answered") {
			return out
		}
		return ""
	})
	const crd = "l7networkpolicies.septum.dev"
	version := c.kubectl(t, "get", "crd", crd, "-o", `jsonpath={.metadata.labels.app\.kubernetes\.io/version}`)
	label := func(v string) { c.kubectl(t, "label", "--overwrite", "crd", crd, "app.kubernetes.io/version="+v) }
	t.Cleanup(func() { label(version) })
	label("0.0.1")
	out, err := c.plugin(t, "doctor")
	if err == nil || !strings.Contains(out, `wrong: CRD `+crd+`: it is of version "0.0.1"`) {
		t.Errorf("with a CRD of another version it says (%v)\n%s", err, out)
	}
	label(version)
	// A node without a proxy: the DaemonSet is kept off it.
	c.kubectl(t, "-n", "septum-system", "patch", "daemonset", "septum-proxy", "--type=merge", "-p", `{"spec":{"template":{"spec":{"nodeSelector":{"kubernetes.io/hostname":"node1"}}}}}`)
	t.Cleanup(func() {
		c.kubectl(t, "-n", "septum-system", "patch", "daemonset", "septum-proxy", "--type=json", "-p", `[{"op":"remove","path":"/spec/template/spec/nodeSelector/kubernetes.io~1hostname"}]`)
		c.kubectl(t, "-n", "septum-system", "rollout", "status", "daemonset", "septum-proxy", "--timeout=120s")
	})
	within(t, time.Minute, func() string {
		out, err := c.plugin(t, "doctor")
		if err == nil || !strings.Contains(out, "wrong: node node2: its proxy does not have what is in force") {
			return out
		}
		return ""
	})
}

// plugin is kubectl-septum for the cluster under test.
func (c cluster) plugin(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := c.command(t.Context(), filepath.Join(c.root, "test/cluster/cluster"), "env").Output()
	if err != nil {
		t.Fatal(err)
	}
	config := regexp.MustCompile(`KUBECONFIG=['"]?([^'"\s;]+)`).FindStringSubmatch(string(out))
	if config == nil {
		t.Fatalf("the cluster's environment is %s", out)
	}
	if out, err := c.command(t.Context(), "make", "--no-print-directory", "plugin").CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	cmd := c.command(t.Context(), filepath.Join(c.root, "build/bin/kubectl-septum"), append(args, "--kubeconfig", config[1])...)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// TestFlowsByThePlugin has kubectl-septum read both nodes, through a port-forward of its own.
func TestFlowsByThePlugin(t *testing.T) {
	c := here()
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.holds(t, 10*time.Second, []request{
		{"frontend-remote", "GET", "/data", "200"}, {"frontend-remote", "DELETE", "/data", "403"},
	})
	within(t, 20*time.Second, func() string {
		out, err := c.plugin(t, "flows", "-n", "demo", "--to-workload", "backend-app", "--http-method", "DELETE", "--verdict", "DROPPED", "--last", "5")
		if err != nil || !strings.Contains(out, "http-request DROPPED (HTTP/1.1 DELETE http://backend-app/data)") {
			return out
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("colours where there is no terminal: %q", out)
		}
		return ""
	})
	out, err := c.plugin(t, "flows", "-n", "demo", "--type", "policy-verdict", "--verdict", "DROPPED", "--last", "3")
	if err != nil || !strings.Contains(out, "DENIED BY allow-get-products (CiliumNetworkPolicy)") {
		t.Errorf("the verdicts are (%v)\n%s", err, out)
	}
	if out, err := c.plugin(t, "flows", "--system-namespace", "demo"); err == nil || !strings.Contains(out, "septum-flow-reader") {
		t.Errorf("where Septum is not, it says %s", out)
	}
}
