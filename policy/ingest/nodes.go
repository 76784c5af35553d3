package ingest

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/septum-dev/septum/policy"
)

// nodesOf returns the nodes, by name.
func nodesOf(nodes []corev1.Node) []policy.Node {
	out := make([]policy.Node, 0, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		node := policy.Node{Name: n.Name, Labels: make(policy.Labels, len(n.Labels))}
		for k, v := range n.Labels {
			node.Labels[policy.LabelNodePrefix+k] = v
		}
		for _, a := range n.Status.Addresses {
			if a.Type == corev1.NodeInternalIP || a.Type == corev1.NodeExternalIP {
				node.Addrs = appendAddr(node.Addrs, a.Address)
			}
		}
		node.Addrs = sortAddrs(node.Addrs)
		ranges := n.Spec.PodCIDRs
		if len(ranges) == 0 && n.Spec.PodCIDR != "" {
			ranges = []string{n.Spec.PodCIDR}
		}
		for _, text := range ranges {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				node.PodCIDRs = append(node.PodCIDRs, prefix.Masked())
			}
		}
		out = append(out, node)
	}
	slices.SortFunc(out, func(a, b policy.Node) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// servicesOf returns the services with their ready backends, by key.
func servicesOf(o Objects) []policy.Service {
	slicesOf := map[string][]*discoveryv1.EndpointSlice{}
	for i := range o.EndpointSlices {
		s := &o.EndpointSlices[i]
		if name := s.Labels[discoveryv1.LabelServiceName]; name != "" {
			key := s.Namespace + "/" + name
			slicesOf[key] = append(slicesOf[key], s)
		}
	}
	out := make([]policy.Service, 0, len(o.Services))
	for i := range o.Services {
		s := &o.Services[i]
		svc := policy.Service{
			Key:      s.Namespace + "/" + s.Name,
			Labels:   serviceLabels(s),
			Headless: s.Spec.ClusterIP == corev1.ClusterIPNone,
			Addrs:    serviceAddrs(s),
		}
		for _, p := range s.Spec.Ports {
			svc.Ports = append(svc.Ports, policy.ServicePort{
				Name: p.Name, Protocol: protocolOf(p.Protocol), Port: uint16(p.Port),
				Backends: backendsOf(slicesOf[svc.Key], p),
			})
		}
		slices.SortFunc(svc.Ports, func(a, b policy.ServicePort) int {
			return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Name, b.Name))
		})
		out = append(out, svc)
	}
	slices.SortFunc(out, func(a, b policy.Service) int { return cmp.Compare(a.Key, b.Key) })
	return out
}

func serviceLabels(s *corev1.Service) policy.Labels {
	labels := make(policy.Labels, len(s.Labels)+1)
	for k, v := range s.Labels {
		labels["k8s:"+k] = v
	}
	labels[policy.LabelNamespace] = s.Namespace
	return labels
}

func serviceAddrs(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, ip := range append(slices.Clone(s.Spec.ClusterIPs), s.Spec.ClusterIP) {
		out = appendAddr(out, ip)
	}
	for _, ip := range s.Spec.ExternalIPs {
		out = appendAddr(out, ip)
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		out = appendAddr(out, in.IP)
	}
	return sortAddrs(out)
}

// backendsOf returns the ready addresses behind one port of a service. A slice names its
// ports as the service does; readiness that is not said counts as ready.
func backendsOf(endpointSlices []*discoveryv1.EndpointSlice, p corev1.ServicePort) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range endpointSlices {
		for _, sp := range s.Ports {
			if sp.Port == nil || deref(sp.Name) != p.Name || protocolOf(deref(sp.Protocol)) != protocolOf(p.Protocol) {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready != nil && !*e.Conditions.Ready {
					continue
				}
				for _, text := range e.Addresses {
					if addr, err := netip.ParseAddr(text); err == nil {
						out = append(out, netip.AddrPortFrom(addr.Unmap(), uint16(*sp.Port)))
					}
				}
			}
		}
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}

// protocolOf returns a protocol of Kubernetes; TCP is its default.
func protocolOf(p corev1.Protocol) policy.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return policy.ProtocolUDP
	case corev1.ProtocolSCTP:
		return policy.ProtocolSCTP
	}
	return policy.ProtocolTCP
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
