package policy

import (
	"hash/fnv"
	"net/netip"
	"slices"
)

// addressBook says who is behind every address, as seen from no node in particular.
type addressBook struct {
	byPrefix map[netip.Prefix]Address
	// cidrs are the CIDR identities, by prefix.
	cidrs map[netip.Prefix]Identity
	// sortedCIDRs are the keys of cidrs, by address and length.
	sortedCIDRs []netip.Prefix
	services    map[string]Identity // by the service's key
	names       map[NamePattern]Identity
	nodes       map[netip.Addr]string
	// apiOnNodes are the nodes that one of the API server's addresses is on.
	apiOnNodes map[string]bool
	// nodeSets are the identities of nodes with labels that policies name; hosts are all
	// nodes by name, as their own pods see them.
	nodeSets map[Identity]nodeSet
	hosts    map[string]nodeSet
	// apiAlone are the API server's addresses that are nobody else's.
	apiAlone []netip.Addr
}

// newAddressBook fills the book from the strongest claim on an address to the weakest:
// node, pod, service, API server, a node's pod range, and CIDRs last, because a CIDR
// never selects a pod or a node.
func newAddressBook(s Snapshot) *addressBook {
	b := &addressBook{byPrefix: map[netip.Prefix]Address{}, nodes: map[netip.Addr]string{}, apiOnNodes: map[string]bool{},
		nodeSets: map[Identity]nodeSet{}, hosts: map[string]nodeSet{}}
	b.addNodes(s)
	b.addPods(s)
	b.addServices(s)
	for _, addr := range s.APIServer {
		addr = addr.Unmap()
		if b.nodes[addr] == "" && b.add(Address{Prefix: hostPrefix(addr), Identity: IdentityKubeAPIServer}) {
			b.apiAlone = append(b.apiAlone, addr)
		}
	}
	podRanges := map[netip.Prefix]bool{}
	for _, n := range s.Nodes {
		for _, p := range n.PodCIDRs {
			p = canonical(p)
			podRanges[p] = true
			b.add(Address{Prefix: p, Identity: IdentityUnmanaged, Node: n.Name})
		}
	}
	b.addCIDRs(s, podRanges)
	b.names = numberNames(s)
	return b
}

func (b *addressBook) add(a Address) bool {
	if !a.Prefix.IsValid() {
		return false
	}
	if _, taken := b.byPrefix[a.Prefix]; taken {
		return false
	}
	b.byPrefix[a.Prefix] = a
	return true
}

func (b *addressBook) addNodes(s Snapshot) {
	api := map[netip.Addr]bool{}
	for _, addr := range s.APIServer {
		api[addr.Unmap()] = true
	}
	identities := b.numberNodes(s)
	for _, n := range s.Nodes {
		for _, addr := range n.Addrs {
			addr = addr.Unmap()
			identity := identities[nodeSet{api: api[addr], labels: b.hosts[n.Name].labels}]
			if b.add(Address{Prefix: hostPrefix(addr), Identity: identity, Node: n.Name}) {
				b.nodes[addr] = n.Name
				if api[addr] {
					b.apiOnNodes[n.Name] = true
					b.hosts[n.Name] = nodeSet{api: true, labels: b.hosts[n.Name].labels}
				}
			}
		}
	}
}

func (b *addressBook) addPods(s Snapshot) {
	for _, e := range s.Endpoints {
		if e.HostNetwork {
			continue
		}
		namespace, pod := splitName(e.Key)
		identity := e.Identity
		if identity == IdentityAny {
			identity = IdentityUnmanaged
		}
		for _, addr := range e.Addrs {
			a := Address{Prefix: hostPrefix(addr.Unmap()), Identity: identity, Node: e.Node, Namespace: namespace, Pod: pod, Workload: e.Workload}
			if b.add(a) {
				continue
			}
			// Two pods with one address: it is not known which of them is there.
			if old := b.byPrefix[a.Prefix]; old.Pod != "" && old.Identity != a.Identity {
				b.byPrefix[a.Prefix] = Address{Prefix: a.Prefix, Identity: IdentityUnmanaged}
			}
		}
	}
}

func (b *addressBook) addServices(s Snapshot) {
	var keys []string
	for _, svc := range s.Services {
		if !svc.Headless && len(svc.Addrs) > 0 {
			keys = append(keys, svc.Key)
		}
	}
	b.services = identityNumbers(keys, func(k string) string { return k }, FirstServiceIdentity, 1<<30)
	for _, svc := range s.Services {
		if svc.Headless {
			continue
		}
		for _, addr := range svc.Addrs {
			b.add(Address{Prefix: hostPrefix(addr.Unmap()), Identity: b.services[svc.Key], Service: svc.Key})
		}
	}
}

// addCIDRs gives an identity to each prefix that a policy names and that can hold an
// address which is none of the cluster's.
func (b *addressBook) addCIDRs(s Snapshot, podRanges map[netip.Prefix]bool) {
	seen := map[netip.Prefix]bool{}
	for _, p := range namedCIDRs(s, b) {
		_, taken := b.byPrefix[p]
		if p.IsValid() && !taken && !insideOne(p, podRanges) {
			seen[p] = true
		}
	}
	for p := range seen {
		b.sortedCIDRs = append(b.sortedCIDRs, p)
	}
	slices.SortFunc(b.sortedCIDRs, comparePrefixes)
	b.cidrs = identityNumbers(b.sortedCIDRs, netip.Prefix.String, FirstCIDRIdentity, 1<<29)
	for p, identity := range b.cidrs {
		b.add(Address{Prefix: p, Identity: identity})
	}
}

// namedCIDRs returns the prefixes in the policies' peers, and the backends outside the
// cluster of the services that they name.
func namedCIDRs(s Snapshot, b *addressBook) []netip.Prefix {
	services := servicesByKey(s)
	var out []netip.Prefix
	eachRule(s, func(r *Rule) {
		for _, peer := range r.Peers {
			if peer.CIDR != nil {
				out = append(out, canonical(peer.CIDR.Prefix))
				for _, e := range peer.CIDR.Except {
					out = append(out, canonical(e))
				}
			}
			for _, key := range peer.Services {
				for _, addr := range backendsOf(services[key]) {
					if _, known := b.byPrefix[hostPrefix(addr)]; !known {
						out = append(out, hostPrefix(addr))
					}
				}
			}
		}
	})
	return out
}

// sorted returns every address, by prefix.
func (b *addressBook) sorted() []Address {
	out := make([]Address, 0, len(b.byPrefix))
	for _, a := range b.byPrefix {
		out = append(out, a)
	}
	slices.SortFunc(out, CompareAddresses)
	return out
}

// identityNumbers gives each key a number in [first, first+size): by its hash, so that the number
// does not depend on the other keys; where two hashes meet, the first in order has it.
func identityNumbers[K comparable](keys []K, text func(K) string, first Identity, size uint64) map[K]Identity {
	out := make(map[K]Identity, len(keys))
	taken := make(map[Identity]bool, len(keys))
	for _, k := range keys {
		if _, ok := out[k]; ok {
			continue
		}
		h := fnv.New64a()
		_, _ = h.Write([]byte(text(k)))
		offset := h.Sum64() % size
		for taken[first+Identity(offset)] {
			offset = (offset + 1) % size
		}
		out[k] = first + Identity(offset)
		taken[out[k]] = true
	}
	return out
}
