package ingest

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// peers are who a rule is about. Without any and a list they select nobody.
type peers struct {
	any  bool
	list []policy.Peer
	// broken is true if a part could not be carried out: an allow rule goes without
	// that part, a deny rule is about everyone.
	broken bool
}

func (p *peers) add(peer policy.Peer) { p.list = append(p.list, peer) }

// entity adds a class of peers; they are reserved labels (SEMANTICS 11).
func (s *scope) entity(p *peers, name, path string) {
	reserved := func(names ...string) {
		for _, n := range names {
			p.add(selecting(policy.Requirement{Key: policy.LabelReservedPrefix + n, Operator: policy.Exists}))
		}
	}
	switch name {
	case "all":
		p.any = true
	case "cluster", "cluster-mesh":
		reserved("health", "host", "ingress", "init", "kube-apiserver", "remote-node", "unmanaged")
		r := policy.Requirement{Key: policy.LabelCluster, Operator: policy.Exists}
		if name == "cluster" {
			r = policy.Requirement{Key: policy.LabelCluster, Operator: policy.In, Values: []string{s.cluster}}
		}
		p.add(selecting(r))
	case "world", "host", "remote-node", "kube-apiserver", "init", "health", "unmanaged", "none", "ingress":
		reserved(name)
	default:
		p.broken = true
		s.invalid(path, "%q is no entity: use all, world, cluster, host, remote-node, kube-apiserver, init, health, unmanaged, ingress or none", name)
	}
}

func selecting(reqs ...policy.Requirement) policy.Peer {
	sel := selectorOf(reqs)
	return policy.Peer{Selector: &sel}
}

// cidr adds a range less its exceptions. An allow rule goes without a range one of whose
// exceptions is wrong; a deny rule goes without the exception.
func (s *scope) cidr(p *peers, text, path string, except []string, exceptPath string, deny bool) {
	prefix, err := parsePrefix(text)
	if err != nil {
		p.broken = true
		s.invalid(path, "%q is not a range of addresses such as 192.0.2.0/24: %v", text, err)
		return
	}
	out := policy.CIDR{Prefix: prefix}
	for i, e := range except {
		hole, err := parsePrefix(e)
		switch {
		case err != nil:
			s.invalid(fmt.Sprintf("%s[%d]", exceptPath, i), "%q is not a range of addresses: %v", e, err)
		case hole.Bits() < prefix.Bits() || !prefix.Contains(hole.Addr()):
			s.invalid(fmt.Sprintf("%s[%d]", exceptPath, i), "%s does not lie inside %s", hole, prefix)
		default:
			out.Except = append(out.Except, hole)
			continue
		}
		if !deny {
			return
		}
	}
	p.add(policy.Peer{CIDR: &out})
}

// parsePrefix reads a range or a single address.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, err
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("an IPv4-mapped range must have at least 96 bits")
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// serviceNamed adds services by name; namespace "" is every namespace.
func (s *scope) serviceNamed(p *peers, namespace, name, path string) {
	var keys []string
	for i := range s.services {
		ns, n, _ := strings.Cut(s.services[i].Key, "/")
		if n == name && (namespace == "" || ns == namespace) {
			keys = append(keys, s.services[i].Key)
		}
	}
	s.servicesFound(p, keys, path, fmt.Sprintf("there is no service %q", strings.TrimPrefix(namespace+"/"+name, "/")))
}

// servicesSelected adds services by their labels; namespace "" is every namespace.
func (s *scope) servicesSelected(p *peers, namespace string, reqs []policy.Requirement, path string) {
	sel := selectorOf(reqs)
	var keys []string
	for i := range s.services {
		if (namespace == "" || s.services[i].Labels[policy.LabelNamespace] == namespace) && sel.Matches(s.services[i].Labels) {
			keys = append(keys, s.services[i].Key)
		}
	}
	s.servicesFound(p, keys, path, "no service has these labels")
}

// servicesFound adds what was found. A service that is not there selects nothing, in deny rules too (SEMANTICS 14).
func (s *scope) servicesFound(p *peers, keys []string, path, missing string) {
	if len(keys) == 0 {
		s.add(path, policy.ReasonUnresolved, "%s: it selects nothing until there is", missing)
		return
	}
	p.add(policy.Peer{Services: keys})
}

// ciliumPeers are the peers of a Cilium rule of either direction.
type ciliumPeers struct {
	// prefix is "from" or "to".
	prefix    string
	endpoints []ciliumv2.LabelSelector
	cidrs     []ciliumv2.CIDR
	cidrSet   []ciliumv2.CIDRRule
	entities  []ciliumv2.Entity
	services  []ciliumv2.Service
	groups    []ciliumv2.ProviderGroup
	nodes     []ciliumv2.LabelSelector
	fqdns     []ciliumv2.FQDNSelector
}

func ingressPeers(in *ciliumv2.IngressPeers) ciliumPeers {
	return ciliumPeers{prefix: "from", endpoints: in.FromEndpoints, cidrs: in.FromCIDR, cidrSet: in.FromCIDRSet,
		entities: in.FromEntities, groups: in.FromGroups, nodes: in.FromNodes}
}

func egressPeers(in *ciliumv2.EgressPeers, fqdns []ciliumv2.FQDNSelector) ciliumPeers {
	return ciliumPeers{prefix: "to", endpoints: in.ToEndpoints, cidrs: in.ToCIDR, cidrSet: in.ToCIDRSet,
		entities: in.ToEntities, services: in.ToServices, groups: in.ToGroups, nodes: in.ToNodes, fqdns: fqdns}
}

// named says whether a rule names peers at all, even if none, and by how many members.
func (p *ciliumPeers) named() (named bool, members []string) {
	count := func(name string, present bool, n int) {
		named = named || present
		if n > 0 {
			members = append(members, p.prefix+name)
		}
	}
	count("Endpoints", p.endpoints != nil, len(p.endpoints))
	count("CIDR", p.cidrs != nil, len(p.cidrs))
	count("CIDRSet", p.cidrSet != nil, len(p.cidrSet))
	count("Entities", p.entities != nil, len(p.entities))
	count("Services", p.services != nil, len(p.services))
	count("Groups", p.groups != nil, len(p.groups))
	count("Nodes", p.nodes != nil, len(p.nodes))
	count("FQDNs", p.fqdns != nil, len(p.fqdns))
	return named, members
}

// ciliumPeers returns who a rule is about. Without members it is everyone if the rule
// has ports, and nobody if it has none: `{}` allows nothing (SEMANTICS 5 and 6).
func (s *scope) ciliumPeers(in ciliumPeers, path string, deny, hasPorts bool) peers {
	var out peers
	named, members := in.named()
	if !named {
		out.any = hasPorts
		return out
	}
	if len(members) > 1 {
		out.broken = true
		s.invalid(path, "%s cannot be in one rule; write a rule for each", strings.Join(members, " and "))
		return out
	}
	list := path + "." + in.prefix
	for i := range in.endpoints {
		sel, ok := s.ciliumPeer(&in.endpoints[i], at(path, in.prefix+"Endpoints", i))
		if !ok {
			out.broken = true
			continue
		}
		out.add(policy.Peer{Selector: &sel})
	}
	for i, c := range in.cidrs {
		s.cidr(&out, string(c), at(path, in.prefix+"CIDR", i), nil, "", deny)
	}
	for i := range in.cidrSet {
		s.ciliumCIDR(&out, &in.cidrSet[i], at(path, in.prefix+"CIDRSet", i), deny)
	}
	for i, e := range in.entities {
		s.entity(&out, string(e), at(path, in.prefix+"Entities", i))
	}
	for i := range in.nodes {
		reqs, ok := s.ciliumRequirements(&in.nodes[i], at(path, in.prefix+"Nodes", i))
		for j, r := range reqs { // nodes have labels of one source
			_, name, _ := strings.Cut(r.Key, ":")
			reqs[j].Key = policy.LabelNodePrefix + name
		}
		s.nodes(&out, reqs, ok)
	}
	for i := range in.services {
		s.ciliumService(&out, &in.services[i], at(path, in.prefix+"Services", i))
	}
	for i, f := range in.fqdns {
		s.name(&out, f.MatchName, f.MatchPattern, nameFields{"matchName", "matchPattern"}, at(path, "toFQDNs", i))
	}
	for _, m := range []struct {
		name, instead string
		n             int
	}{
		{"Groups", "use " + in.prefix + "CIDRSet", len(in.groups)},
	} {
		if m.n > 0 {
			out.broken = true
			s.unsupported(list+m.name, "is not supported yet and selects nothing; %s", m.instead)
		}
	}
	return out
}

// nameFields are what the fields of a name and of a pattern are called.
type nameFields struct{ name, pattern string }

// name adds the addresses that pods are told for a name. One that is wrong is left out.
func (s *scope) name(p *peers, name, pattern string, fields nameFields, path string) {
	n, ok := s.namePattern(name, pattern, fields.name, fields.pattern, path)
	if !ok || s.unknownIn(path) {
		p.broken = true
		return
	}
	p.add(policy.Peer{Name: n})
}

// nodes adds the nodes with these labels, the pod's own among them.
func (s *scope) nodes(p *peers, reqs []policy.Requirement, ok bool) {
	if !ok {
		p.broken = true
		return
	}
	for _, entity := range []string{"host", "remote-node"} {
		p.add(selecting(append(slices.Clone(reqs), policy.Requirement{Key: policy.LabelReservedPrefix + entity, Operator: policy.Exists})...))
	}
}

func (s *scope) ciliumCIDR(p *peers, in *ciliumv2.CIDRRule, path string, deny bool) {
	var given []string
	for name, set := range map[string]bool{"cidr": in.CIDR != "", "cidrGroupRef": in.CIDRGroupRef != "", "cidrGroupSelector": in.CIDRGroupSelector != nil} {
		if set {
			given = append(given, name)
		}
	}
	switch {
	case len(given) != 1:
		p.broken = true
		s.invalid(path, "exactly one of cidr, cidrGroupRef and cidrGroupSelector must be set")
	case in.CIDRGroupRef != "":
		s.cidrGroupRef(p, in, path, deny)
	case in.CIDRGroupSelector != nil:
		s.cidrGroupSelector(p, in, path, deny)
	default:
		except := make([]string, len(in.Except))
		for i, e := range in.Except {
			except[i] = string(e)
		}
		s.cidr(p, string(in.CIDR), path+".cidr", except, path+".except", deny)
	}
}

func (s *scope) ciliumService(p *peers, in *ciliumv2.Service, path string) {
	if in.K8sService == nil && in.K8sServiceSelector == nil {
		p.broken = true
		s.invalid(path, "needs k8sService or k8sServiceSelector")
		return
	}
	if svc := in.K8sService; svc != nil {
		s.serviceNamed(p, svc.Namespace, svc.ServiceName, path+".k8sService")
	}
	if sel := in.K8sServiceSelector; sel != nil {
		reqs, ok := s.ciliumRequirements(&sel.Selector, path+".k8sServiceSelector.selector")
		if !ok {
			p.broken = true
			return
		}
		for i, r := range reqs { // services have labels of one source
			_, name, _ := strings.Cut(r.Key, ":")
			reqs[i].Key = "k8s:" + name
		}
		s.servicesSelected(p, sel.Namespace, reqs, path+".k8sServiceSelector")
	}
}
