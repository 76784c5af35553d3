package enforcer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// holds notes what the maps hold now.
func (e *Enforcer) holds(np policy.NodePolicy) {
	e.force.policy, e.force.responsible = np, responsibleIn(np)
	e.starts.changed = false
	e.wants(np)
	e.meetNames()
	e.know(np)
}

// meets forgets what the operator knows itself by now, or knows to be gone, and notes the
// pods that are new.
func (e *Enforcer) meets(np policy.NodePolicy) {
	told := map[podID]policy.EndpointPolicy{}
	before := map[podID]bool{}
	for _, ep := range e.force.told.Endpoints {
		before[idOf(ep)] = true
	}
	young := map[podID]bool{}
	for _, ep := range np.Endpoints {
		id := idOf(ep)
		told[id] = ep
		fresh := e.force.known && !before[id]
		if ep.Policed() && !ep.HostNetwork && (fresh || e.starts.young[id]) {
			young[id] = true
		}
	}
	e.starts.young = young
	for id, s := range e.starts.started {
		ep, ok := told[id]
		gone := !ok && before[id]
		known := ok && len(ep.Addrs) > 0 && (!sameAddrs(ep.Addrs, s.Before) || sameAddrs(ep.Addrs, s.Addrs))
		if gone || known {
			delete(e.starts.started, id)
		}
	}
	e.outcome("StartsNotSaved", e.saveStarts())
}

// withStarts is np with the addresses that the plugin told. An address is the newest pod's
// alone, whatever the operator still believes of an earlier one.
func (e *Enforcer) withStarts(np policy.NodePolicy) policy.NodePolicy {
	if len(e.starts.started) == 0 {
		return np
	}
	owner := map[netip.Addr]podID{}
	for id, s := range e.starts.started {
		if _, ok := endpointIn(np, id); ok {
			for _, a := range s.Addrs {
				owner[a] = id
			}
		}
	}
	entries := map[netip.Addr]policy.Address{}
	endpoints := make([]policy.EndpointPolicy, 0, len(np.Endpoints))
	for _, ep := range np.Endpoints {
		id := idOf(ep)
		if s, ok := e.starts.started[id]; ok {
			ep.Addrs = s.Addrs
			namespace, name, _ := strings.Cut(ep.Key, "/")
			for _, a := range s.Addrs {
				entries[a] = policy.Address{
					Prefix: netip.PrefixFrom(a, a.BitLen()), Identity: ep.Identity, Node: np.Node, Namespace: namespace, Pod: name,
				}
			}
		} else if !ep.HostNetwork {
			ep.Addrs = slices.DeleteFunc(slices.Clone(ep.Addrs), func(a netip.Addr) bool { _, taken := owner[a]; return taken })
		}
		endpoints = append(endpoints, ep)
	}
	np.Endpoints = endpoints
	addresses := make([]policy.Address, 0, len(np.Addresses)+len(entries))
	for _, a := range np.Addresses {
		if _, replaced := entries[a.Prefix.Addr()]; !replaced || !a.Prefix.IsSingleIP() {
			addresses = append(addresses, a)
		}
	}
	for _, a := range entries {
		addresses = append(addresses, a)
	}
	slices.SortFunc(addresses, policy.CompareAddresses)
	np.Addresses = addresses
	return np
}

// loadStarts takes over what the last run was told.
func (e *Enforcer) loadStarts() {
	saved, err := e.config.Store.LoadStarts()
	e.outcome("StartsUnreadable", err)
	e.starts.saved = saved
	for _, s := range saved {
		e.starts.started[s.id()] = s
	}
}

func (e *Enforcer) saveStarts() error {
	now := make([]Started, 0, len(e.starts.started))
	for _, s := range e.starts.started {
		now = append(now, s)
	}
	slices.SortFunc(now, func(a, b Started) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.UID, b.UID)) })
	if slices.EqualFunc(now, e.starts.saved, func(a, b Started) bool { return a.id() == b.id() && slices.Equal(a.Addrs, b.Addrs) }) {
		return nil
	}
	if err := e.config.Store.SaveStarts(now); err != nil {
		return fmt.Errorf("save the addresses of pods that start: %w", err)
	}
	e.starts.saved = now
	return nil
}

func endpointIn(np policy.NodePolicy, id podID) (policy.EndpointPolicy, bool) {
	i, ok := slices.BinarySearchFunc(np.Endpoints, id.key, func(ep policy.EndpointPolicy, key string) int { return cmp.Compare(ep.Key, key) })
	if !ok || np.Endpoints[i].UID != id.uid {
		return policy.EndpointPolicy{}, false
	}
	return np.Endpoints[i], true
}

func sortedAddrs(addrs []netip.Addr) []netip.Addr {
	return slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare)
}

func sameAddrs(a, b []netip.Addr) bool { return slices.Equal(sortedAddrs(a), sortedAddrs(b)) }
