package policy

import (
	"net/netip"
	"slices"
)

// peerHolds says whether one of the rule's peers is labels at who's address.
func (n *naive) peerHolds(r *Rule, labels Labels, who end) bool {
	if r.AnyPeer {
		return true
	}
	if len(labels) == 0 {
		return false // a service's own address is nobody's peer
	}
	return slices.ContainsFunc(r.Peers, func(p Peer) bool {
		switch {
		case p.Selector != nil:
			return p.Selector.Matches(labels)
		case p.Name != "":
			return who.outside && !who.api && !who.behind && slices.ContainsFunc(n.learnt, func(l Learnt) bool {
				return l.Addr == who.addr && slices.ContainsFunc(l.Names, p.Name.Matches)
			})
		case p.CIDR != nil:
			return n.cidrHolds(*p.CIDR, who, r.Action == Deny)
		}
		return slices.ContainsFunc(p.Services, func(key string) bool { return n.serviceHolds(key, labels, who, r.Action == Deny) })
	})
}

func inCIDR(c CIDR, a netip.Addr) bool {
	return c.Prefix.Contains(a) && !slices.ContainsFunc(c.Except, func(e netip.Prefix) bool { return e.Contains(a) })
}

// cidrHolds: addresses outside the cluster. The API server's addresses have one
// identity: all of them must be inside, or for a deny one.
func (n *naive) cidrHolds(c CIDR, who end, deny bool) bool {
	if !who.api {
		return who.outside && inCIDR(c, who.addr)
	}
	if !who.outside {
		return false
	}
	in := 0
	for _, a := range n.s.APIServer {
		if inCIDR(c, a) {
			in++
		}
	}
	return in == len(n.s.APIServer) || deny && in > 0
}

// serviceHolds: what one of the service's backends is.
func (n *naive) serviceHolds(key string, labels Labels, who end, deny bool) bool {
	for _, svc := range n.s.Services {
		for _, p := range svc.Ports {
			for _, b := range p.Backends {
				if svc.Key == key && n.isBackend(b.Addr(), labels, who, deny) {
					return true
				}
			}
		}
	}
	return false
}

func (n *naive) isBackend(backend netip.Addr, labels Labels, who end, deny bool) bool {
	b := n.who(backend, false)
	_, host := labels["reserved:host"]
	_, remote := labels["reserved:remote-node"]
	_, api := labels["reserved:kube-apiserver"]
	switch {
	case b.api:
		return api
	case len(b.pods) > 0:
		return len(who.pods) > 0 && who.pods[0].Identity == b.pods[0].Identity
	case len(b.labels) == 2: // a node is not selected alone; a deny closes all nodes
		return deny && (host || remote && !api)
	}
	return b.outside && who.addr == backend
}

// portHolds says whether one of the rule's ports is the request's.
func (n *naive) portHolds(r *Rule, who end) bool {
	if r.L7 != nil && n.req.Protocol != ProtocolTCP {
		return false
	}
	if len(r.Ports) == 0 {
		return r.L7 == nil
	}
	return slices.ContainsFunc(r.Ports, func(p Port) bool {
		if p.Protocol != n.req.Protocol && (p.Protocol != ProtocolAny || n.req.Protocol == ProtocolICMP) {
			return false
		}
		switch {
		case p.Name != "":
			return n.nameHolds(p, who, r.Action == Deny)
		case p.Protocol == ProtocolICMP:
			return p.ICMPType < 0 || int(p.ICMPType) == int(n.req.Port>>8)
		case p.EndPort != 0:
			return p.Port <= n.req.Port && n.req.Port <= p.EndPort
		}
		return p.Port == 0 || p.Port == n.req.Port
	})
}

// nameHolds: on ingress the name is self's; on egress it must be the same for every pod
// with the peer's labels, or for a deny of one of them.
func (n *naive) nameHolds(p Port, who end, deny bool) bool {
	pods := []*Endpoint{n.self}
	if n.req.Direction == Egress {
		pods = who.pods
	}
	has := 0
	for _, e := range pods {
		if slices.Contains(e.Ports, NamedPort{p.Name, n.req.Protocol, n.req.Port}) {
			has++
		}
	}
	return has > 0 && (deny || has == len(pods))
}
