package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
)

// universe is every identity that a peer can have, and what selects them.
type universe struct {
	book *addressBook
	// identities and their labels, by number. From firstHost on come other meanings of
	// IdentityHost: on a node that the API server runs on, or whose labels a policy names,
	// these hold too. apiHost is the plain one of the API server.
	identities []Identity
	index      *labelIndex
	position   map[Identity]int32
	apiHost    int32
	firstHost  int32
	hosts      map[nodeSet]int32
	services   map[string]*Service
	endpoints  map[Identity][]*Endpoint
}

func newUniverse(s Snapshot) *universe {
	u := &universe{book: newAddressBook(s), position: map[Identity]int32{}, services: servicesByKey(s), endpoints: map[Identity][]*Endpoint{}}
	labels := reservedLabels(u.book)
	for _, il := range s.Identities {
		if _, reserved := labels[il.Identity]; !reserved {
			labels[il.Identity] = il.Labels
		}
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.HostNetwork || e.Identity < FirstClusterIdentity {
			continue
		}
		u.endpoints[e.Identity] = append(u.endpoints[e.Identity], e)
		if _, ok := labels[e.Identity]; !ok {
			labels[e.Identity] = e.Labels
		}
	}
	for identity, set := range u.book.nodeSets {
		labels[identity] = set.asLabels("remote-node")
	}
	for p, identity := range u.book.cidrs {
		labels[identity] = Labels{"cidr:" + p.String(): "", LabelReservedPrefix + "world": ""}
	}
	for pattern, identity := range u.book.names {
		labels[identity] = Labels{LabelNamePrefix + string(pattern): "", LabelReservedPrefix + "world": ""}
	}
	for identity := range labels {
		u.identities = append(u.identities, identity)
	}
	slices.Sort(u.identities)
	sets := make([]Labels, 0, len(u.identities)+1)
	for i, identity := range u.identities {
		u.position[identity] = int32(i)
		sets = append(sets, labels[identity])
	}
	u.firstHost = int32(len(u.identities))
	u.hosts = map[nodeSet]int32{{}: u.position[IdentityHost]}
	for _, set := range append([]nodeSet{{api: true}}, slices.SortedFunc(maps.Values(u.book.hosts), compareNodeSets)...) {
		if _, ok := u.hosts[set]; !ok {
			u.hosts[set] = int32(len(u.identities))
			u.identities = append(u.identities, IdentityHost)
			sets = append(sets, set.asLabels("host"))
		}
	}
	u.apiHost = u.hosts[nodeSet{api: true}]
	u.index = newLabelIndex(sets)
	return u
}

func reservedLabels(b *addressBook) map[Identity]Labels {
	out := map[Identity]Labels{}
	for identity, name := range map[Identity]string{
		IdentityHost: "host", IdentityWorld: "world", IdentityUnmanaged: "unmanaged", IdentityHealth: "health",
		IdentityInit: "init", IdentityRemoteNode: "remote-node", IdentityKubeAPIServer: "kube-apiserver", IdentityIngress: "ingress",
	} {
		out[identity] = Labels{LabelReservedPrefix + name: ""}
	}
	// The API server is a node as well, or it is outside the cluster, as in Cilium.
	other := "world"
	if len(b.apiOnNodes) > 0 {
		other = "remote-node"
	}
	out[IdentityKubeAPIServer][LabelReservedPrefix+other] = ""
	return out
}

// labels returns every identity's labels, by number; services have labels only to be named by.
func (u *universe) labels() []IdentityLabels {
	var out []IdentityLabels
	for i, identity := range u.identities[:u.firstHost] {
		out = append(out, IdentityLabels{Identity: identity, Labels: toldLabels(u.index.sets[i])})
	}
	for key, identity := range u.book.services {
		namespace, name := splitName(key)
		out = append(out, IdentityLabels{Identity: identity, Labels: Labels{"service:namespace": namespace, "service:name": name}})
	}
	slices.SortFunc(out, func(a, b IdentityLabels) int { return cmp.Compare(a.Identity, b.Identity) })
	return out
}

// cidr returns the positions that a CIDR selects: the CIDR identities inside it, and the
// API server if it is outside the cluster. An exception wins over the range; for a deny
// rule it is enough that one address of the API server is in the range.
func (u *universe) cidr(c CIDR, deny bool) []int32 {
	selects := func(p netip.Prefix) bool {
		if !within(p, canonical(c.Prefix)) {
			return false
		}
		return !slices.ContainsFunc(c.Except, func(e netip.Prefix) bool { return within(p, canonical(e)) })
	}
	var out []int32
	sorted := u.book.sortedCIDRs
	first, _ := slices.BinarySearchFunc(sorted, canonical(c.Prefix), comparePrefixes)
	for _, p := range sorted[first:] {
		if !canonical(c.Prefix).Contains(p.Addr()) {
			break
		}
		if selects(p) {
			out = append(out, u.position[u.book.cidrs[p]])
		}
	}
	in := 0
	for _, addr := range u.book.apiAlone {
		if selects(hostPrefix(addr)) {
			in++
		}
	}
	if in > 0 && (deny || in == len(u.book.apiAlone) && len(u.book.apiOnNodes) == 0) {
		out = append(out, u.position[IdentityKubeAPIServer])
	}
	return out
}

// backends returns the positions of a service's backends; unsupported are those that
// cannot be selected alone, because they are nodes.
func (u *universe) backends(svc *Service, deny bool) (out []int32, unsupported bool) {
	for _, addr := range backendsOf(svc) {
		identity := u.identityOf(addr)
		switch {
		case identity.IsNode() && u.isAPI(identity):
			out = append(out, u.nodes(true)...)
		case identity.IsNode() && deny:
			out = append(out, u.nodes(false)...)
			for _, host := range u.hosts {
				out = append(out, host)
			}
		case identity.IsNode() || identity == IdentityUnmanaged || identity >= FirstServiceIdentity:
			unsupported = true
		default:
			if n, ok := u.position[identity]; ok {
				out = append(out, n)
			}
		}
	}
	return out, unsupported
}

func (u *universe) isAPI(identity Identity) bool {
	return identity == IdentityKubeAPIServer || u.book.nodeSets[identity].api
}

// nodes returns the positions of the nodes that are, or are not, the API server.
func (u *universe) nodes(api bool) []int32 {
	out := []int32{u.position[IdentityRemoteNode]}
	if api {
		out = []int32{u.position[IdentityKubeAPIServer]}
		for set, host := range u.hosts {
			if set.api {
				out = append(out, host)
			}
		}
	}
	for identity, set := range u.book.nodeSets {
		if set.api == api {
			out = append(out, u.position[identity])
		}
	}
	return out
}

// identityOf returns who is behind an address, seen from no node in particular.
func (u *universe) identityOf(addr netip.Addr) Identity {
	addr = addr.Unmap().WithZone("")
	for bits := addr.BitLen(); bits >= 0; bits-- {
		p, err := addr.Prefix(bits)
		if err != nil {
			break
		}
		if a, ok := u.book.byPrefix[p]; ok {
			return a.Identity
		}
	}
	return IdentityWorld
}

func servicesByKey(s Snapshot) map[string]*Service {
	out := make(map[string]*Service, len(s.Services))
	for i := range s.Services {
		out[s.Services[i].Key] = &s.Services[i]
	}
	return out
}

func backendsOf(svc *Service) []netip.Addr {
	if svc == nil {
		return nil
	}
	var out []netip.Addr
	for _, p := range svc.Ports {
		for _, b := range p.Backends {
			out = append(out, b.Addr().Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

// eachRule calls f for every rule of every policy, in order.
func eachRule(s Snapshot, f func(*Rule)) {
	for i := range s.Policies {
		for j := range s.Policies[i].Specs {
			spec := &s.Policies[i].Specs[j]
			for _, section := range []*Section{&spec.Ingress, &spec.Egress} {
				for k := range section.Rules {
					f(&section.Rules[k])
				}
			}
		}
	}
}
