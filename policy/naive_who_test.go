package policy

import (
	"maps"
	"net/netip"
	"slices"
)

// who says what an address means, seen from self's node or from no node in particular.
func (n *naive) who(a netip.Addr, fromHere bool) (out end) {
	out = end{addr: a, behind: !fromHere, api: slices.Contains(n.s.APIServer, a)}
	reserved := func(names ...string) Labels {
		l := Labels{}
		for _, name := range names {
			l["reserved:"+name] = ""
		}
		return l
	}
	labelled := func(l Labels, name string) Labels {
		for _, node := range n.s.Nodes {
			if node.Name == name {
				maps.Copy(l, node.Labels)
			}
		}
		return l
	}
	for _, node := range n.s.Nodes {
		if !slices.Contains(node.Addrs, a) {
			continue
		}
		defer func() {
			for _, l := range out.labels {
				name := node.Name
				if _, host := l["reserved:host"]; host {
					name = n.self.Node
				}
				labelled(l, name)
			}
		}()
		switch own := node.Name == n.self.Node; {
		case out.api && own && fromHere:
			out.labels = []Labels{reserved("host", "kube-apiserver")}
		case out.api:
			out.labels = []Labels{reserved("kube-apiserver", "remote-node")}
		case own && fromHere:
			out.labels = []Labels{reserved("host")}
		case fromHere:
			out.labels = []Labels{reserved("remote-node")}
		default:
			host := reserved("host")
			if n.ownAPI() {
				host = reserved("host", "kube-apiserver")
			}
			out.labels = []Labels{host, reserved("remote-node")}
		}
		return out
	}
	for i := range n.s.Endpoints {
		e := &n.s.Endpoints[i]
		if !e.HostNetwork && slices.Contains(e.Addrs, a) {
			out.labels = []Labels{e.Labels}
			for j := range n.s.Endpoints {
				if other := &n.s.Endpoints[j]; !other.HostNetwork && other.Identity == e.Identity {
					out.pods = append(out.pods, other)
				}
			}
			return out
		}
	}
	if out.api {
		out.outside = true
		out.labels = []Labels{reserved("kube-apiserver", "world")}
		return out
	}
	for _, node := range n.s.Nodes {
		if slices.ContainsFunc(node.PodCIDRs, func(p netip.Prefix) bool { return p.Contains(a) }) {
			out.labels = []Labels{reserved("unmanaged")}
			return out
		}
	}
	out.outside = true
	out.labels = []Labels{reserved("world")}
	return out
}

func (n *naive) ownAPI() bool {
	return slices.ContainsFunc(n.s.Nodes, func(node Node) bool {
		return node.Name == n.self.Node && slices.ContainsFunc(node.Addrs, func(a netip.Addr) bool { return slices.Contains(n.s.APIServer, a) })
	})
}
