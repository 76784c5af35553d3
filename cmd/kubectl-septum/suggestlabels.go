package main

import (
	"maps"
	"slices"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// namespaceLabel is the key by which Cilium's selectors name a pod's namespace.
const namespaceLabel = "k8s:io.kubernetes.pod.namespace"

// podLabels are a pod's own labels.
func podLabels(e *flowpb.Endpoint) map[string]string {
	out := map[string]string{}
	for _, l := range e.GetLabels() {
		key, value, _ := strings.Cut(l, "=")
		key, ok := strings.CutPrefix(key, "k8s:")
		if ok && !strings.HasPrefix(key, "io.cilium.k8s.") && !strings.HasPrefix(key, "io.kubernetes.") {
			out[key] = value
		}
	}
	return out
}

// telling are the labels by which people tell workloads apart, the best first: the first
// of these groups of which a pod has one is enough.
func telling() [][]string {
	return [][]string{
		{"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"},
		{"app", "component", "role", "tier"},
		{"k8s-app"}, {"name"}, {"run"}, {"service"},
	}
}

// passing are labels that change while a workload stays what it is, or that single pods have.
func passing(key string) bool {
	domain, _, _ := strings.Cut(key, "/")
	switch key {
	case "pod-template-hash", "controller-revision-hash", "pod-template-generation", "controller-uid", "job-name", "version",
		"app.kubernetes.io/version", "app.kubernetes.io/managed-by", "helm.sh/chart", "chart", "heritage", "release-revision":
		return true
	}
	return slices.Contains([]string{"statefulset.kubernetes.io", "apps.kubernetes.io", "batch.kubernetes.io", "topology.kubernetes.io",
		"kubernetes.io", "security.istio.io", "service.istio.io"}, domain) && domain != key
}

// identifying are the labels that tell a workload from others; nil if it has none.
func identifying(labels map[string]string) map[string]string {
	for _, group := range telling() {
		out := map[string]string{}
		for _, key := range group {
			if value, ok := labels[key]; ok {
				out[key] = value
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	out := map[string]string{}
	for key, value := range labels {
		if !passing(key) {
			out[key] = value
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// labelText is "key=value", by key, on a line each.
func labelText(labels map[string]string) string {
	lines := make([]string, 0, len(labels))
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		lines = append(lines, key+"="+labels[key])
	}
	return strings.Join(lines, "\n")
}

func labelsOf(text string) map[string]string {
	out := map[string]string{}
	for _, line := range strings.Split(text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		out[key] = value
	}
	return out
}
