//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// both is the backend as a service of both families, and by its own and its node's ports.
const both = `
apiVersion: v1
kind: Service
metadata: {name: backend-both, namespace: demo}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: backend-app}
  ports:
  - {name: http, port: 80, targetPort: http}
`

// egressBoth lets the clients GET /data of the backend, whatever its own ingress says, and
// the backend itself too: a pod may come to itself by its service.
const egressBoth = `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: clients-egress, namespace: demo}
spec:
  endpointSelector:
    matchExpressions: [{key: app, operator: In, values: [frontend-app, backend-app]}]
  egress:
  - toEndpoints: [{matchLabels: {app: backend-app}}]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: /data}]}
`

// families are the addresses of one thing, IPv4 first.
type families []string

// needBoth returns the addresses that a JSON path gives, and skips the test where the machine
// has no IPv6 to make a cluster of both families with.
func (c cluster) needBoth(t *testing.T, args ...string) families {
	t.Helper()
	out := families(strings.Fields(c.kubectl(t, args...)))
	if len(out) == 1 && !hasIPv6() {
		t.Skip("this machine has no IPv6")
	}
	if len(out) != 2 || strings.Contains(out[0], ":") || !strings.Contains(out[1], ":") {
		t.Fatalf("kubectl %v: %q, want an IPv4 and an IPv6 address", args, out)
	}
	return out
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

func (c cluster) podAddresses(t *testing.T, selector string) families {
	t.Helper()
	return c.needBoth(t, "-n", "demo", "get", "pods", "-l", selector, "--field-selector=status.phase=Running",
		"-o", "jsonpath={.items[0].status.podIPs[*].ip}")
}

func (c cluster) nodeAddresses(t *testing.T, node string) families {
	t.Helper()
	return c.needBoth(t, "get", "node", node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`)
}

// visit is a request of a deployment to an address.
type visit struct {
	from, to, path string
	// want is "200" from whatever address, "200 ADDRESS", "403" or "none".
	want string
}

// wrong makes the request and returns what is wrong with its outcome, or "".
func (c cluster) wrong(v visit) string {
	out, _ := c.tool("", "kubectl", "-n", "demo", "exec", "deployment/"+v.from, "--",
		"/septum-demo", "get", "-timeout", "2s", "http://"+v.to+v.path)
	got, _, _ := strings.Cut(out, "\n")
	code, addr, _ := strings.Cut(v.want, " ")
	ok := false
	switch code {
	case "200":
		ok = strings.HasPrefix(got, "200 ") && strings.HasSuffix(got, " from "+addr) || addr == "" && strings.HasPrefix(got, "200 ")
	case "403":
		ok = got == "403 Access denied"
	case "none":
		ok = strings.HasPrefix(got, "no answer")
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("%s → %s%s: want %s, got %q", v.from, v.to, v.path, v.want, got)
}

// holdAll checks every visit until it is so.
func (c cluster) holdAll(t *testing.T, visits []visit) {
	t.Helper()
	for _, v := range visits {
		within(t, 20*time.Second, func() string { return c.wrong(v) })
	}
}

func at(addr, port string) string { return net.JoinHostPort(addr, port) }

// TestBothFamilies has one policy judged over IPv4 and IPv6, to the pod and to its service,
// on one node and across nodes, at the server and at both ends.
func TestBothFamilies(t *testing.T) {
	c := here()
	c.clear(t)
	c.create(t, both)
	pod := c.podAddresses(t, "app=backend-app")
	service := c.needBoth(t, "-n", "demo", "get", "service", "backend-both", "-o", "jsonpath={.spec.clusterIPs[*]}")
	var truth []visit
	for family := range pod {
		for _, to := range []string{at(pod[family], "80"), at(service[family], "80")} {
			for _, from := range []string{"frontend-app", "frontend-remote"} {
				own := c.podAddresses(t, "client="+from)[family]
				truth = append(truth, visit{from, to, "/data", "200 " + own}, visit{from, to, "/other", "403"})
			}
			for _, from := range []string{"other-app", "other-remote"} {
				truth = append(truth, visit{from, to, "/data", "none"})
			}
		}
	}
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.holdAll(t, truth)
	t.Run("at both ends", func(t *testing.T) {
		c.applyMore(t, "cnp.clients-egress", egressBoth)
		c.holdAll(t, truth)
	})
	t.Run("at the client only", func(t *testing.T) {
		c.kubectl(t, "-n", "demo", "delete", "ciliumnetworkpolicy", "allow-get-products")
		for i := range truth {
			if truth[i].want == "none" { // nothing keeps these out any more
				truth[i].want = "200"
			}
		}
		c.holdAll(t, truth)
	})
	t.Run("to itself by the service", func(t *testing.T) {
		for _, addr := range service {
			c.holdAll(t, []visit{{"backend-app", at(addr, "80"), "/data", "200"}, {"backend-app", at(addr, "80"), "/other", "403"}})
		}
	})
}

// TestNodePorts: kube-proxy hides the client of a node's port behind the node. The other node's
// address is that node; the own node's, on what it has not sent itself, is nobody's: world.
func TestNodePorts(t *testing.T) {
	c := here()
	c.clear(t)
	c.create(t, both)
	port := c.kubectl(t, "-n", "demo", "get", "service", "backend-both", "-o", "jsonpath={.spec.ports[0].nodePort}")
	node1, node2 := c.nodeAddresses(t, "node1"), c.nodeAddresses(t, "node2")
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	for family := range node1 {
		c.holdAll(t, []visit{
			{"frontend-app", at(node1[family], port), "/data", "none"},
			{"frontend-remote", at(node2[family], port), "/data", "none"},
		})
	}
	c.applyMore(t, "cnp.from-nodes", `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: from-nodes, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: backend-app}}
  ingress:
  - fromEntities: [remote-node, world]
    toPorts:
    - ports: [{port: "80", protocol: TCP}]
      rules: {http: [{method: GET, path: /data}]}
`)
	for family := range node1 {
		c.holdAll(t, []visit{
			{"frontend-app", at(node1[family], port), "/data", "200"},
			{"frontend-app", at(node1[family], port), "/other", "403"},
			{"frontend-remote", at(node2[family], port), "/data", "200 " + node2[family]},
			{"frontend-remote", at(node2[family], port), "/other", "403"},
		})
	}
	t.Run("egress to nodes", func(t *testing.T) {
		c.applyMore(t, "cnp.to-nodes", fmt.Sprintf(`
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: to-nodes, namespace: demo}
spec:
  endpointSelector: {matchLabels: {app: other-app}}
  egress:
  - toEntities: [host]
    toPorts:
    - ports: [{port: "%[1]s", protocol: TCP}]
      rules: {http: [{method: GET, path: /data}]}
`, port))
		for family := range node1 {
			c.holdAll(t, []visit{
				{"other-app", at(node1[family], port), "/data", "200"},
				{"other-app", at(node1[family], port), "/other", "403"},
				{"other-app", at(node2[family], port), "/data", "none"},
			})
		}
	})
	t.Run("with the client's own address", func(t *testing.T) {
		c.kubectl(t, "-n", "demo", "patch", "service", "backend-both", "-p", `{"spec": {"externalTrafficPolicy": "Local"}}`)
		for family := range node1 {
			own := c.podAddresses(t, "client=frontend-app")[family]
			c.holdAll(t, []visit{
				{"frontend-app", at(node1[family], port), "/data", "200 " + own},
				{"frontend-app", at(node1[family], port), "/other", "403"},
			})
		}
	})
}

// TestHostPort: a port of the node that a pod has for itself.
func TestHostPort(t *testing.T) {
	c := here()
	c.clear(t)
	c.kubectl(t, "-n", "demo", "patch", "deployment", "backend-app", "--type=json", "-p",
		`[{"op": "add", "path": "/spec/template/spec/containers/0/ports/0/hostPort", "value": 18080}]`)
	t.Cleanup(func() {
		c.kubectl(t, "-n", "demo", "patch", "deployment", "backend-app", "--type=json", "-p",
			`[{"op": "remove", "path": "/spec/template/spec/containers/0/ports/0/hostPort"}]`)
		c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/backend-app", "--timeout=90s")
	})
	c.kubectl(t, "-n", "demo", "rollout", "status", "deployment/backend-app", "--timeout=90s")
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	for family, addr := range c.nodeAddresses(t, "node1") {
		var visits []visit
		for _, from := range []string{"frontend-app", "frontend-remote"} {
			own := c.podAddresses(t, "client="+from)[family]
			visits = append(visits, visit{from, at(addr, "18080"), "/data", "200 " + own}, visit{from, at(addr, "18080"), "/other", "403"})
		}
		c.holdAll(t, append(visits, visit{"other-remote", at(addr, "18080"), "/data", "none"}))
	}
}

// create applies what goes again when the test ends.
func (c cluster) create(t *testing.T, manifest string) {
	t.Helper()
	if out, err := c.tool(manifest, "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := c.tool(manifest, "kubectl", "delete", "-f", "-"); err != nil {
			t.Errorf("delete: %v\n%s", err, out)
		}
	})
}

// applyMore applies one more policy, which goes with the others, and waits for it.
func (c cluster) applyMore(t *testing.T, status, policy string) {
	t.Helper()
	if out, err := c.tool(policy, "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("apply: %v\n%s", err, out)
	}
	c.enforced(t, status)
}

// inControlPlane runs a command in the control plane's namespace, which is the world to pods.
func inControlPlane(args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--net=/run/netns/" + clusterName + "-cp"}, args...)...)
}
