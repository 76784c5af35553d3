package ingest

import (
	"cmp"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/septum-dev/septum/policy"
)

// labelSet is one set of labels and its identity; pods with equal labels share it.
type labelSet struct {
	text     string
	labels   policy.Labels
	identity policy.Identity
}

// labeler makes pods' labels.
type labeler struct {
	cluster    string
	namespaces map[string]map[string]string
	// named are the keys that policies name, without their source.
	named map[string]bool
	sets  map[string]*labelSet
}

func newLabeler(o Objects, named map[string]bool) *labeler {
	l := &labeler{cluster: o.Cluster, namespaces: make(map[string]map[string]string, len(o.Namespaces)), named: named, sets: map[string]*labelSet{}}
	for i := range o.Namespaces {
		l.namespaces[o.Namespaces[i].Name] = o.Namespaces[i].Labels
	}
	return l
}

// of returns a pod's label set. What says where the pod is and who it runs as is taken
// from the pod itself, never from labels that its author gave it.
func (l *labeler) of(p *corev1.Pod) *labelSet {
	ns := l.namespaces[p.Namespace]
	labels := make(policy.Labels, len(p.Labels)+len(ns)+3)
	for k, v := range p.Labels {
		if !forged(k) && (!perPod(k) || l.named[k]) {
			labels["k8s:"+k] = v
		}
	}
	for k, v := range ns {
		labels[policy.LabelNamespacePrefix+k] = v
	}
	account := p.Spec.ServiceAccountName
	if account == "" {
		account = "default"
	}
	labels[policy.LabelNamespace] = p.Namespace
	labels[policy.LabelServiceAccount] = account
	labels[policy.LabelCluster] = l.cluster
	text := labelText(labels)
	set := l.sets[text]
	if set == nil {
		set = &labelSet{text: text, labels: labels}
		l.sets[text] = set
	}
	return set
}

// forged says whether a pod's own label has a key that only ingest may give.
func forged(key string) bool {
	return key == "io.kubernetes.pod.namespace" || strings.HasPrefix(key, "io.cilium.k8s.")
}

// perPod says whether Kubernetes gives a label another value in every pod or roll-out:
// it is left out, unless a policy names it, so that the pods share an identity.
func perPod(key string) bool {
	switch key {
	case "pod-template-hash", "pod-template-generation", "controller-revision-hash",
		"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index",
		"controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name",
		"batch.kubernetes.io/job-completion-index":
		return true
	}
	return false
}

// number gives every set its identity: a hash of its labels, or the next free number
// after it, for the sets in order.
func (l *labeler) number() []policy.IdentityLabels {
	const space = uint64(policy.FirstCIDRIdentity - policy.FirstClusterIdentity)
	taken := make(map[policy.Identity]bool, len(l.sets))
	out := make([]policy.IdentityLabels, 0, len(l.sets))
	for _, text := range slices.Sorted(maps.Keys(l.sets)) {
		h := fnv.New64a()
		h.Write([]byte(text))
		offset := h.Sum64() % space
		id := policy.FirstClusterIdentity + policy.Identity(offset)
		for taken[id] {
			offset = (offset + 1) % space
			id = policy.FirstClusterIdentity + policy.Identity(offset)
		}
		taken[id] = true
		set := l.sets[text]
		set.identity = id
		out = append(out, policy.IdentityLabels{Identity: id, Labels: set.labels})
	}
	slices.SortFunc(out, func(a, b policy.IdentityLabels) int { return cmp.Compare(a.Identity, b.Identity) })
	return out
}

// labelText is the same for equal labels only: keys and values hold no zero byte.
func labelText(labels policy.Labels) string {
	keys := make([]string, 0, len(labels))
	size := 0
	for k, v := range labels {
		keys = append(keys, k)
		size += len(k) + len(v) + 2
	}
	slices.Sort(keys)
	var b strings.Builder
	b.Grow(size)
	for _, k := range keys {
		b.WriteString(k)
		b.WriteByte(0)
		b.WriteString(labels[k])
		b.WriteByte(0)
	}
	return b.String()
}
