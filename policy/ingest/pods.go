package ingest

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/septum-dev/septum/policy"
)

// endpointsOf returns the pods that have addresses or are about to get them, by key, and
// their identities, by number. named are the label keys that policies name.
func endpointsOf(o Objects, named map[string]bool) ([]policy.Endpoint, []policy.IdentityLabels) {
	pods := make([]*corev1.Pod, 0, len(o.Pods))
	for i := range o.Pods {
		if p := &o.Pods[i]; p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			pods = append(pods, p)
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name), cmp.Compare(a.UID, b.UID))
	})
	labels := newLabeler(o, named)
	owners := addrOwners(pods)
	out := make([]policy.Endpoint, 0, len(pods))
	sets := make([]*labelSet, 0, len(pods))
	for _, p := range pods {
		e := policy.Endpoint{
			Key: p.Namespace + "/" + p.Name, UID: string(p.UID), Node: p.Spec.NodeName,
			Workload: workloadOf(p), HostNetwork: p.Spec.HostNetwork, Ports: namedPorts(p),
		}
		for _, addr := range podAddrs(p) {
			if e.HostNetwork || owners[addr] == p {
				e.Addrs = append(e.Addrs, addr)
			}
		}
		if len(e.Addrs) == 0 && !starting(p) {
			continue
		}
		set := labels.of(p)
		e.Labels = set.labels
		out = append(out, e)
		sets = append(sets, set)
	}
	identities := labels.number()
	for i := range out {
		out[i].Identity = sets[i].identity
	}
	return out, identities
}

// starting says that a node is about to start the pod and give it its addresses. The node
// has to know its policy by then.
func starting(p *corev1.Pod) bool {
	return p.Spec.NodeName != "" && !p.Spec.HostNetwork && p.DeletionTimestamp == nil && len(podAddrs(p)) == 0
}

func podAddrs(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		out = appendAddr(out, ip.IP)
	}
	if len(out) == 0 {
		out = appendAddr(out, p.Status.PodIP)
	}
	return out
}

// addrOwners says which pod has an address, where a pod that is going away still shows
// the one that a new pod has been given: the one that stays, then the younger one.
func addrOwners(pods []*corev1.Pod) map[netip.Addr]*corev1.Pod {
	out := make(map[netip.Addr]*corev1.Pod, len(pods))
	for _, p := range pods {
		if p.Spec.HostNetwork {
			continue
		}
		for _, addr := range podAddrs(p) {
			if old := out[addr]; old == nil || newer(p, old) {
				out[addr] = p
			}
		}
	}
	return out
}

func newer(a, b *corev1.Pod) bool {
	if gone := a.DeletionTimestamp != nil; gone != (b.DeletionTimestamp != nil) {
		return !gone
	}
	return b.CreationTimestamp.Before(&a.CreationTimestamp)
}

// workloadOf returns the name of the pod's controller; a ReplicaSet stands for its
// Deployment, whose name it has with the template's hash behind it.
func workloadOf(p *corev1.Pod) string {
	ref := metav1.GetControllerOf(p)
	if ref == nil {
		return ""
	}
	if hash := p.Labels["pod-template-hash"]; ref.Kind == "ReplicaSet" && hash != "" {
		return strings.TrimSuffix(ref.Name, "-"+hash)
	}
	return ref.Name
}

// namedPorts returns the container ports that have a name, of sidecars too.
func namedPorts(p *corev1.Pod) []policy.NamedPort {
	var out []policy.NamedPort
	add := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.Name != "" {
				out = append(out, policy.NamedPort{Name: port.Name, Protocol: protocolOf(port.Protocol), Port: uint16(port.ContainerPort)})
			}
		}
	}
	for i := range p.Spec.InitContainers {
		if c := &p.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i])
	}
	slices.SortFunc(out, func(a, b policy.NamedPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(out)
}
