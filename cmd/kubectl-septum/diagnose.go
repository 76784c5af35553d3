package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	kernels "k8s.io/apimachinery/pkg/util/version"

	"github.com/septum-dev/septum/api/v1alpha1"
)

// The bounds of what is well.
const (
	leastKernel = "6.6"
	// endsSoon is less than what is left when a certificate for a day is renewed, a third of it.
	endsSoon   = 2 * time.Hour
	caEndsSoon = 30 * 24 * time.Hour
	// skewed clocks make certificates of the other end not valid yet.
	skewed    = time.Minute
	recent    = time.Hour
	mostTimes = 5
)

// diagnose returns what is not as it should be, the worst first.
func diagnose(s clinic) []finding {
	var out []finding
	for _, look := range []func(clinic) []finding{lookOperator, lookSets, lookVersions, lookCRDs, lookNodes, lookFacts, lookBehind, lookCertificates, lookPolicies, lookEvents} {
		out = append(out, look(s)...)
	}
	for _, err := range s.unreadable {
		out = append(out, finding{where: "your rights", what: err.Error(), right: "a Role that lets you read it (docs/kubectl-septum.md has one)"})
	}
	slices.SortStableFunc(out, func(a, b finding) int {
		rank := map[bool]int{true: 0, false: 1}
		return cmp.Compare(rank[a.wrong], rank[b.wrong])
	})
	return out
}

func lookOperator(s clinic) []finding {
	d := s.operator
	if d == nil {
		return []finding{{true, "operator", fmt.Sprintf("there is no Deployment %s/septum-operator", s.system), "Septum installed there, or --system-namespace with the namespace that it is in"}}
	}
	if d.Status.ReadyReplicas == 0 {
		return []finding{{true, "operator", "no replica is ready" + lastWords(s.pods, "operator"), "one ready at least: nodes enforce what they know, and learn nothing new"}}
	}
	if want := d.Spec.Replicas; want != nil && d.Status.ReadyReplicas < *want {
		return []finding{{false, "operator", fmt.Sprintf("%d of %d replicas are ready", d.Status.ReadyReplicas, *want), "all of them ready"}}
	}
	return nil
}

func lookSets(s clinic) []finding {
	var out []finding
	for _, name := range []string{"septum-enforcer", "septum-proxy"} {
		i := slices.IndexFunc(s.sets, func(d appsv1.DaemonSet) bool { return d.Name == name })
		if i < 0 {
			out = append(out, finding{true, name, "there is no such DaemonSet", "one of the chart's"})
			continue
		}
		if st := s.sets[i].Status; st.NumberReady < st.DesiredNumberScheduled {
			out = append(out, finding{true, name, fmt.Sprintf("%d of %d pods are ready%s", st.NumberReady, st.DesiredNumberScheduled, lastWords(s.pods, strings.TrimPrefix(name, "septum-"))),
				"one ready on each node: without an enforcer what was in force stays, without a proxy rules of layer 7 are closed"})
		}
	}
	return out
}

// lastWords are what a container of the component that failed said last.
func lastWords(pods []corev1.Pod, component string) string {
	for _, p := range pods {
		if p.Labels["app.kubernetes.io/component"] != component {
			continue
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			if w := c.State.Waiting; w != nil && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating" {
				out := fmt.Sprintf("; %s on %s: %s", p.Name, p.Spec.NodeName, w.Reason)
				if t := c.LastTerminationState.Terminated; t != nil && t.Message != "" {
					out += ": " + t.Message
				}
				return out
			}
		}
	}
	return ""
}

// lookVersions compares the images' tags.
func lookVersions(s clinic) []finding {
	tags := map[string][]string{} // pods by tag
	for _, p := range s.pods {
		if p.Labels["app.kubernetes.io/name"] != "septum" || p.DeletionTimestamp != nil {
			continue
		}
		for _, c := range p.Spec.Containers {
			_, tag, ok := strings.Cut(c.Image[strings.LastIndexByte(c.Image, '/')+1:], ":")
			if ok && !slices.Contains(tags[tag], p.Name) {
				tags[tag] = append(tags[tag], p.Name)
			}
		}
	}
	if len(tags) < 2 {
		return nil
	}
	var list []string
	for _, tag := range slices.Sorted(maps.Keys(tags)) {
		slices.Sort(tags[tag])
		list = append(list, fmt.Sprintf("%s (%s)", tag, firsts(tags[tag])))
	}
	return []finding{{false, "versions", "the pods are of different ones: " + strings.Join(list, ", "), "one version of all; during an upgrade this passes"}}
}

// kindsNeeded are the CRDs of the policies and of their status.
func kindsNeeded() []string {
	return []string{"ciliumclusterwidenetworkpolicies.cilium.io", "ciliumnetworkpolicies.cilium.io", "clusterl7networkpolicies.septum.dev", "l7networkpolicies.septum.dev", "l7policystatuses.septum.dev"}
}

func lookCRDs(s clinic) []finding {
	if len(s.crds) == 0 {
		return nil // they are installed by other means, or may not be read
	}
	var out []finding
	want := ""
	if s.operator != nil {
		want = s.operator.Labels["app.kubernetes.io/version"]
	}
	seen := map[string]bool{}
	for _, crd := range s.crds {
		seen[crd.GetName()] = true
		if have := crd.GetLabels()["app.kubernetes.io/version"]; want != "" && have != want {
			out = append(out, finding{true, "CRD " + crd.GetName(), fmt.Sprintf("it is of version %q, and the operator of %q", have, want), "the CRDs of the operator's version: fields that an older one does not know are dropped before the operator sees them"})
		}
	}
	for _, name := range kindsNeeded() {
		if !seen[name] && strings.HasSuffix(name, ".septum.dev") {
			out = append(out, finding{true, "CRD " + name, "it is not installed", "the chart's crds.install, or the CRDs of config/crd"})
		}
	}
	return out
}

// lookNodes looks at what the API says of the nodes.
func lookNodes(s clinic) []finding {
	var out []finding
	enforcers := map[string]bool{}
	for _, p := range s.pods {
		if p.Labels["app.kubernetes.io/component"] == "enforcer" {
			enforcers[p.Spec.NodeName] = true
		}
	}
	least := kernels.MustParseGeneric(leastKernel)
	for _, n := range s.nodes {
		if !enforcers[n.Name] {
			out = append(out, finding{true, "node " + n.Name, "no enforcer runs on it", "the DaemonSet's tolerations and node selector let it run there: pods of this node are under no policy"})
		}
		kernel, err := kernels.ParseGeneric(n.Status.NodeInfo.KernelVersion)
		if err == nil && kernel.LessThan(least) {
			out = append(out, finding{true, "node " + n.Name, "its kernel is " + n.Status.NodeInfo.KernelVersion, "Linux " + leastKernel + " or newer, which has TCX"})
		}
	}
	return out
}

// lookFacts looks at what the nodes say of themselves.
func lookFacts(s clinic) []finding {
	var out []finding
	if s.silentWhy != nil {
		return append(out, finding{true, "nodes", "they cannot be asked: " + s.silentWhy.Error(), "hubble.enabled of the chart, and the rights for flows (docs/kubectl-septum.md)"})
	}
	for _, n := range s.nodes {
		f, ok := s.facts[n.Name]
		where := "node " + n.Name
		if !ok {
			out = append(out, finding{true, where, "its enforcer does not answer the operator", "the enforcer runs, and the operator reaches its port for flows (hubble.nodesPort)"})
			continue
		}
		if !f.BTF {
			out = append(out, finding{true, where, "its kernel " + f.Kernel + " has no BTF", "a kernel with CONFIG_DEBUG_INFO_BTF"})
		}
		if !f.ProxyReady {
			out = append(out, finding{true, where, "its proxy does not have what is in force", "pod septum-proxy of the node runs: rules of layer 7 are closed there"})
		}
		if f.CNI != "installed" && f.CNI != "off" {
			out = append(out, finding{true, where, "the CNI plugin is not called: " + f.CNI, "septum-cni in the network's list: pods that start are not held until their policy is in force"})
		}
		if skew := f.Time.Sub(s.now); skew > skewed+s.asked || skew < -skewed-s.asked {
			out = append(out, finding{false, where, fmt.Sprintf("its clock differs from this machine's by %s", lasting(skew.Abs())), "clocks set by NTP: certificates are valid by the clock"})
		}
		for _, p := range f.Problems {
			at := where
			if p.Pod != "" {
				at += ", pod " + p.Pod
			}
			out = append(out, finding{true, at, p.Reason + ": " + p.Message, rightFor(p.Reason)})
		}
		if f.More > 0 {
			out = append(out, finding{true, where, fmt.Sprintf("and %d problems more", f.More), "none"})
		}
	}
	return out
}

// rightFor says what would end a node's problem.
func rightFor(reason string) string {
	switch reason {
	case "UnsupportedInterface":
		return "a CNI that gives pods a veth, or redirects to one: docs/transparency.md names those that are supported"
	case "AddressConflict":
		return "one interface for each pod's address"
	case "InterfaceClosed":
		return "one interface for the pod: others cannot be enforced, and are closed"
	}
	return "nothing that keeps the node from enforcing; its enforcer's log says more"
}

// lookBehind compares what is in the nodes' data paths.
func lookBehind(s clinic) []finding {
	count := map[string]int{}
	for _, f := range s.facts {
		count[f.ClusterVersion]++
	}
	if len(count) < 2 {
		return nil
	}
	most := slices.MaxFunc(slices.Sorted(maps.Keys(count)), func(a, b string) int { return cmp.Compare(count[a], count[b]) })
	var out []finding
	for _, name := range slices.Sorted(maps.Keys(s.facts)) {
		f := s.facts[name]
		if f.ClusterVersion == "" {
			out = append(out, finding{true, "node " + name, "it has nothing in its data path yet", "the operator's state, within seconds of its start"})
		} else if f.ClusterVersion != most {
			out = append(out, finding{false, "node " + name, "it does not have the addresses and identities that most nodes have", "all the same but for moments: ask again, and look at its enforcer's log if it stays"})
		}
	}
	return out
}

func lookPolicies(s clinic) []finding {
	var out []finding
	for _, st := range s.statuses {
		for _, c := range st.Status.Conditions {
			bad := c.Type == v1alpha1.ConditionDegraded || c.Type == v1alpha1.ConditionConflicted
			if bad != (c.Status == "True") || c.Reason == v1alpha1.ReasonNoPodSelected {
				continue
			}
			out = append(out, finding{c.Type == v1alpha1.ConditionEnforced, "policy " + nameOf(st), fmt.Sprintf("%s=%s, %s: %s", c.Type, c.Status, c.Reason, c.Message), "see kubectl septum status, lint and explain"})
		}
	}
	return out
}

// lookEvents has the latest warnings about Septum's own objects.
func lookEvents(s clinic) []finding {
	at := func(e corev1.Event) time.Time {
		if !e.LastTimestamp.IsZero() {
			return e.LastTimestamp.Time
		}
		return e.EventTime.Time
	}
	events := slices.DeleteFunc(slices.Clone(s.events), func(e corev1.Event) bool { return s.now.Sub(at(e)) > recent })
	slices.SortFunc(events, func(a, b corev1.Event) int { return at(b).Compare(at(a)) })
	var out []finding
	for _, e := range events[:min(mostTimes, len(events))] {
		out = append(out, finding{false, fmt.Sprintf("event of %s %s", strings.ToLower(e.InvolvedObject.Kind), e.InvolvedObject.Name),
			fmt.Sprintf("%s, %s ago: %s", e.Reason, lasting(s.now.Sub(at(e))), e.Message), "no warnings; one that has passed may be ignored"})
	}
	return out
}

// firsts are the first of some names, and how many there are more.
func firsts(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
