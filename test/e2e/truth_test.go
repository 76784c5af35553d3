//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
)

// shown are the cases of the truth table that a cluster of plain pods can show, and
// together show a line each. Not here is what needs other nodes as clients, host-network pods, service
// accounts and named ports (a pod keeps its own), or requests that no plain client makes; those run with
// the programs and the Envoy of this cluster elsewhere. Of the cases here, only requests of pods to pods
// and to the world are made.
func shown() []string {
	return []string{
		"union", "deny-beats-allow", "deny-range", "specs", "sample", // 1
		"broad-l4-shadows", "l3-opens-every-port", "l4-and-l7", // 2
		"http-empty-list", "http-match-all", "rules-empty", // 3
		"default-deny-is-per-direction", "egress-default-deny", "no-default-deny", "audit", // 5
		"from-endpoints-absent", "from-endpoints-empty", "from-endpoints-all", // 6
		"replies", "both-ends", "native-deny", // 7, 8, 9
		"namespace-of-the-policy", "namespace-named", "namespace-labels", // 10
		"entity-cluster", "entity-none", "port-any-protocol", "port-range", // 11, 13
		"service-unresolved", "http-whole-string", "native-paths", "http-methods", // 14, 15, 16
		"http-headers", "http-path-normalisation", "http-long-expression", "grpc-native", // 17, 18, 19, 22
		"server-names", "server-names-combined", "dns", "fqdn", // 23, 24, 25
		"kafka-cilium", "kafka-combined", // 27, 28, 29
	}
}

// worlds is how many cases are shown at once.
const worlds = 2

// TestTruthTable applies cases to a few pods that live through all of them: a case gives
// them its labels, and its policies their namespaces.
func TestTruthTable(t *testing.T) {
	c := here()
	all, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.makeWorlds(t); err != nil {
		t.Fatal(err)
	}
	c.serveOutside(t, all)
	var mu sync.Mutex
	requests, lines := 0, map[int]bool{}
	t.Run("cases", func(t *testing.T) {
		for n := range worlds {
			t.Run(fmt.Sprint("world", n), func(t *testing.T) {
				t.Parallel()
				w := c.world(t, n)
				for i, name := range shown() {
					if i%worlds != n {
						continue
					}
					k := slices.IndexFunc(all, func(c conformance.Case) bool { return c.Name == name })
					if k < 0 {
						t.Fatalf("there is no case %s", name)
					}
					t.Run(name, func(t *testing.T) {
						made := w.show(t, all[k])
						mu.Lock()
						defer mu.Unlock()
						requests += made
						for _, line := range all[k].Semantics {
							lines[line] = true
						}
					})
				}
			})
		}
	})
	t.Logf("%d requests of %d cases, about %d lines", requests, len(shown()), len(lines))
	if requests < 80 {
		t.Errorf("only %d requests were made", requests)
	}
}

// world is three namespaces and the addresses of their pods.
type world struct {
	cluster
	n    int
	pods map[string]netip.Addr // by "namespace/name"
}

func (w world) namespace(i int) string { return fmt.Sprintf("truth-%d-%d", w.n, i) }

// slots are the pods of each of a world's namespaces, in turn on both nodes.
func (w world) slots() [][]string { return [][]string{{"a", "b", "c", "d"}, {"e", "f"}, {"g"}} }

// served are the ports that each pod listens on.
func served() []uint16 {
	return []uint16{53, 80, 81, 443, 444, 445, 446, 999, 1000, 1535, 2000, 2001, 7999, 8002, 8004, 8080, 8081, 9000, 9090, 9092, 9093}
}

func (c cluster) makeWorlds(t *testing.T) error {
	t.Helper()
	var b strings.Builder
	var namespaces, listen []string
	for _, port := range served() {
		listen = append(listen, fmt.Sprint(":", port))
	}
	for n := range worlds {
		w := world{cluster: c, n: n}
		for of, slots := range w.slots() {
			namespaces = append(namespaces, w.namespace(of))
			fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n", w.namespace(of))
			for i, name := range slots {
				fmt.Fprintf(&b, `---
apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: node%d}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: 0
  securityContext:
    runAsNonRoot: true
    seccompProfile: {type: RuntimeDefault}
    sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: "0"}]
  containers:
  - name: app
    image: septum-demo:dev
    imagePullPolicy: Never
    args: [serve, -listen, "%s", -dns, ":53"]
    ports: [{name: http, containerPort: 80}, {name: admin, containerPort: 9000}]
    securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`, name, w.namespace(of), 1+i%2, strings.Join(listen, ","))
			}
		}
	}
	t.Cleanup(func() { c.kubectl(t, append([]string{"delete", "namespace", "--wait=false"}, namespaces...)...) })
	// Not with apply: the labels are applied later, and what they do not name would be theirs to take away.
	if out, err := c.tool(b.String(), "kubectl", "create", "-f", "-"); err != nil {
		return fmt.Errorf("make the pods: %w\n%s", err, out)
	}
	return nil
}

// world waits for the pods and learns their addresses.
func (c cluster) world(t *testing.T, n int) world {
	t.Helper()
	w := world{cluster: c, n: n, pods: map[string]netip.Addr{}}
	for of := range w.slots() {
		c.kubectl(t, "-n", w.namespace(of), "wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
		out := c.kubectl(t, "-n", w.namespace(of), "get", "pods", "-o", `jsonpath={range .items[*]}{.metadata.name} {.status.podIP}{"\n"}{end}`)
		for line := range strings.Lines(out) {
			name, ip, _ := strings.Cut(strings.TrimSpace(line), " ")
			addr, err := netip.ParseAddr(ip)
			if err != nil {
				t.Fatalf("pod %s: %v", line, err)
			}
			w.pods[w.namespace(of)+"/"+name] = addr
		}
	}
	return w
}

// cast says which pod of the world plays which of the case.
type cast struct {
	world
	namespaces map[string]string
	// pod is by the case's address.
	pod map[netip.Addr]string
}

func (w world) castOf(t *testing.T, c conformance.Case) (cast, []map[string]any) {
	t.Helper()
	out := cast{world: w, namespaces: map[string]string{c.Snapshot.Policies[0].Ref.Namespace: w.namespace(0)}, pod: map[netip.Addr]string{}}
	next := map[string]int{}
	var objects []map[string]any
	for _, e := range c.Snapshot.Endpoints {
		own := e.Labels[policy.LabelNamespace]
		if _, known := out.namespaces[own]; !known {
			out.namespaces[own] = w.namespace(len(out.namespaces))
		}
		namespace := out.namespaces[own]
		var slots []string
		for of := range w.slots() {
			if w.namespace(of) == namespace {
				slots = w.slots()[of]
			}
		}
		if e.HostNetwork || next[own] >= len(slots) {
			t.Fatalf("the world is too small for %s", e.Key)
		}
		name := slots[next[own]]
		next[own]++
		labels, of := map[string]string{}, map[string]string{}
		for key, value := range e.Labels {
			if plain, ok := strings.CutPrefix(key, policy.LabelNamespacePrefix); ok {
				of[plain] = value
			} else if plain, ok := strings.CutPrefix(key, "k8s:"); ok && !strings.HasPrefix(plain, "io.") {
				labels[plain] = value
			}
		}
		for _, addr := range e.Addrs {
			out.pod[addr] = namespace + "/" + name
		}
		objects = append(objects, map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"namespace": namespace, "name": name, "labels": labels}},
			map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": namespace, "labels": of}})
	}
	return out, objects
}

// policies are the case's, in the world's namespaces.
func (c cast) policies(text string) string {
	for from, to := range c.namespaces {
		named := regexp.MustCompile(`((?:namespace|io\.kubernetes\.pod\.namespace|kubernetes\.io/metadata\.name): )` + from + `([\n,}])`)
		text = named.ReplaceAllString(text, "${1}"+to+"${2}")
	}
	return text
}

// show applies a case and makes its requests until all of them, in one round, get what
// they must get. It returns how many there are.
func (w world) show(t *testing.T, c conformance.Case) int {
	t.Helper()
	cast, objects := w.castOf(t, c)
	var b strings.Builder
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(string(text) + "\n---\n")
	}
	// Server-side apply takes the labels of the case before away.
	if out, err := w.tool(b.String(), "kubectl", "apply", "--server-side", "--force-conflicts", "--field-manager=truth", "-f", "-"); err != nil {
		t.Fatalf("labels: %v\n%s", err, out)
	}
	if out, err := w.tool(cast.policies(c.Policies), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatalf("policies: %v\n%s", err, out)
	}
	defer w.kubectl(t, "-n", w.namespace(0), "delete", "ciliumnetworkpolicy,l7networkpolicy", "--all")
	var requests []truth
	for _, check := range c.Requests {
		if r, ok := cast.truth(c, check); ok {
			requests = append(requests, r)
		}
	}
	if len(requests) == 0 {
		t.Fatal("no request is between pods")
	}
	within(t, 60*time.Second, func() string {
		wrong := cast.tell(c)
		var mu sync.Mutex
		var asked sync.WaitGroup
		for _, r := range requests {
			asked.Go(func() {
				if complaint := w.ask(r); complaint != "" {
					mu.Lock()
					defer mu.Unlock()
					wrong = append(wrong, complaint)
				}
			})
		}
		asked.Wait()
		slices.Sort(wrong)
		return strings.Join(wrong, "\n")
	})
	return len(requests)
}
