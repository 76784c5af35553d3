package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
)

// world is the cluster as the compiled policies see it.
type world struct {
	snapshot policy.Snapshot
	problems []policy.Problem
	compiled *policy.Compiled
	nodes    map[string]policy.NodePolicy
}

func newWorld(o ingest.Objects) *world {
	o.Time = time.Now()
	snapshot, problems := ingest.Snapshot(o)
	w := &world{snapshot: snapshot, compiled: policy.Compile(snapshot), nodes: map[string]policy.NodePolicy{}}
	w.problems = slices.Concat(problems, w.compiled.Problems())
	slices.SortStableFunc(w.problems, func(a, b policy.Problem) int {
		return cmp.Or(policy.CompareRefs(a.Policy, b.Policy), cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	w.problems = slices.Compact(w.problems)
	return w
}

// node is what a node enforces.
func (w *world) node(name string) policy.NodePolicy {
	np, ok := w.nodes[name]
	if !ok {
		np = w.compiled.Node(name)
		w.nodes[name] = np
	}
	return np
}

// end is one end of a connection. pod is nil for an address that is no pod's.
type end struct {
	name string
	addr netip.Addr
	pod  *policy.Endpoint
}

// end finds "pod", "namespace/pod", "pod/name", "deployment/name" or an address.
func (w *world) end(name, namespace string) (end, error) {
	if addr, err := netip.ParseAddr(name); err == nil {
		return w.at(addr), nil
	}
	words := strings.Split(name, "/")
	if len(words) > 1 && isKind(words[0]) {
		words = words[1:]
	}
	if len(words) > 1 {
		namespace, words = words[0], words[1:]
	}
	if len(words) != 1 || words[0] == "" {
		return end{}, fmt.Errorf("%q is no pod: use an address, pod, namespace/pod or deployment/name", name)
	}
	key := namespace + "/" + words[0]
	for i := range w.snapshot.Endpoints {
		e := &w.snapshot.Endpoints[i]
		if e.Key == key && len(e.Addrs) > 0 {
			return end{name: e.Key, addr: e.Addrs[0], pod: e}, nil
		}
	}
	for i := range w.snapshot.Endpoints {
		e := &w.snapshot.Endpoints[i]
		if e.Workload == words[0] && strings.HasPrefix(e.Key, namespace+"/") && len(e.Addrs) > 0 {
			return end{name: e.Key, addr: e.Addrs[0], pod: e}, nil
		}
	}
	return end{}, fmt.Errorf("there is no pod or workload %q in namespace %q that has an address", words[0], namespace)
}

func isKind(word string) bool {
	return slices.Contains([]string{"pod", "po", "pods", "deployment", "deploy", "deployments", "statefulset", "sts", "daemonset", "ds", "workload"}, word)
}

func (w *world) at(addr netip.Addr) end {
	for i := range w.snapshot.Endpoints {
		if e := &w.snapshot.Endpoints[i]; slices.Contains(e.Addrs, addr) && !e.HostNetwork {
			return end{name: e.Key, addr: addr, pod: e}
		}
	}
	return end{name: addr.String(), addr: addr}
}

// service finds "name", "name.namespace" or "name.namespace.svc…"; nil if there is none.
func (w *world) service(host, namespace string) *policy.Service {
	words := strings.Split(strings.TrimSuffix(host, "."), ".")
	if len(words) > 1 {
		namespace = words[1]
	}
	if len(words) > 2 && words[2] != "svc" {
		return nil
	}
	for i := range w.snapshot.Services {
		if w.snapshot.Services[i].Key == namespace+"/"+words[0] {
			return &w.snapshot.Services[i]
		}
	}
	return nil
}
