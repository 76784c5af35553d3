package main

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/septum-dev/septum/policy/ingest"
)

// The addresses that objects of files get begin here.
const (
	firstPod     = "10.128.0.1"
	firstService = "10.192.0.1"
	firstNode    = "10.64.0.1"
	madeUpNode   = "node"
)

// complete makes up what a cluster would have added.
func complete(o *ingest.Objects) {
	pod, service, node := netip.MustParseAddr(firstPod), netip.MustParseAddr(firstService), netip.MustParseAddr(firstNode)
	if len(o.Nodes) == 0 {
		o.Nodes = []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: madeUpNode}}}
	}
	for i := range o.Nodes {
		if n := &o.Nodes[i]; len(n.Status.Addresses) == 0 {
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: node.String()}}
			node = node.Next()
		}
	}
	for i := range o.Pods {
		p := &o.Pods[i]
		if p.Namespace == "" {
			p.Namespace = metav1.NamespaceDefault
		}
		p.UID = types.UID(fmt.Sprintf("%s/%s", p.Namespace, p.Name))
		if p.Spec.NodeName == "" {
			p.Spec.NodeName = o.Nodes[0].Name
		}
		if p.Spec.ServiceAccountName == "" {
			p.Spec.ServiceAccountName = "default"
		}
		if p.Status.PodIP == "" && !p.Spec.HostNetwork {
			p.Status.PodIP = pod.String()
			pod = pod.Next()
		}
	}
	for i := range o.Services {
		s := &o.Services[i]
		if s.Namespace == "" {
			s.Namespace = metav1.NamespaceDefault
		}
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = service.String()
			service = service.Next()
		}
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
		}
		if len(s.Spec.Selector) > 0 {
			o.EndpointSlices = append(o.EndpointSlices, sliceOf(*s, o.Pods)...)
		}
	}
	namespaces(o)
}

// namespaces makes those that are named and not there, with the label that each has.
func namespaces(o *ingest.Objects) {
	there := map[string]bool{}
	for i := range o.Namespaces {
		there[o.Namespaces[i].Name] = true
		if o.Namespaces[i].Labels == nil {
			o.Namespaces[i].Labels = map[string]string{}
		}
		o.Namespaces[i].Labels[corev1.LabelMetadataName] = o.Namespaces[i].Name
	}
	need := func(name string) {
		if name != "" && !there[name] {
			there[name] = true
			o.Namespaces = append(o.Namespaces, corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}}})
		}
	}
	for i := range o.Pods {
		need(o.Pods[i].Namespace)
	}
	for i := range o.Policies {
		need(o.Policies[i].GetNamespace())
	}
}

// sliceOf are the endpoints of a service, one slice a pod, as target ports may differ.
func sliceOf(s corev1.Service, pods []corev1.Pod) []discoveryv1.EndpointSlice {
	var out []discoveryv1.EndpointSlice
	selector := labels.SelectorFromSet(s.Spec.Selector)
	for _, p := range pods {
		if p.Namespace != s.Namespace || !selector.Matches(labels.Set(p.Labels)) || p.Status.PodIP == "" {
			continue
		}
		slice := discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + "-" + p.Name, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name}},
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{p.Status.PodIP}}},
		}
		for _, port := range s.Spec.Ports {
			target := targetOf(port, p)
			protocol := port.Protocol
			if protocol == "" {
				protocol = corev1.ProtocolTCP
			}
			if target != 0 {
				slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &target, Protocol: &protocol})
			}
		}
		out = append(out, slice)
	}
	return out
}

// targetOf is the pod's port behind a service's; 0 if the pod has no port of that name.
func targetOf(port corev1.ServicePort, p corev1.Pod) int32 {
	switch {
	case port.TargetPort.Type == intstr.String && port.TargetPort.StrVal != "":
		for _, c := range p.Spec.Containers {
			if i := slices.IndexFunc(c.Ports, func(cp corev1.ContainerPort) bool { return cp.Name == port.TargetPort.StrVal }); i >= 0 {
				return c.Ports[i].ContainerPort
			}
		}
		return 0
	case port.TargetPort.IntVal != 0:
		return port.TargetPort.IntVal
	}
	return port.Port
}
