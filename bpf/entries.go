package bpf

import (
	"hash/fnv"
	"math"
	"net/netip"
	"slices"

	"github.com/septum-dev/septum/policy"
)

// closedTable is a number that no table has: an endpoint that names it is denied everything.
const closedTable = math.MaxUint32

// Entries says what the maps must hold to enforce np. What has no number in n is closed: a
// table without one denies everything, and so does an entry whose class has none. Pods
// that share their node's network are left out, since nothing can be attached to them, and
// so are those that no policy selects.
func Entries(np policy.NodePolicy, n policy.Numbers) State {
	var s State
	audit, classes := map[policy.TableID]bool{}, map[policy.ClassID]policy.Class{}
	for _, c := range np.Classes {
		classes[c.ID] = c
	}
	for _, t := range np.Tables {
		audit[t.ID] = t.Audit
		if number := n.Tables[t.ID]; number != 0 {
			s.Tables = append(s.Tables, tableEntries(t, number, n, classes)...)
		}
	}
	for _, ep := range np.Endpoints {
		if ep.HostNetwork || !ep.Policed() {
			continue
		}
		e := EndpointEntry{
			Number:       endpointNumber(ep.UID),
			Ingress:      tableNumber(ep.Ingress, n),
			Egress:       tableNumber(ep.Egress, n),
			AuditIngress: audit[ep.Ingress],
			AuditEgress:  audit[ep.Egress],
		}
		for _, a := range ep.Addrs {
			e.Addr = a.Unmap()
			s.Endpoints = append(s.Endpoints, e)
		}
	}
	s.Addresses = addressEntries(np.Addresses)
	slices.SortFunc(s.Endpoints, EndpointEntry.Compare)
	slices.SortFunc(s.Tables, TableEntry.Compare)
	return s
}

// UnpolicedEndpoint is an address of a pod that no policy selects: everything is allowed, and
// what is with the proxy already stays there.
func UnpolicedEndpoint(a netip.Addr, uid string) EndpointEntry {
	return EndpointEntry{Addr: a.Unmap(), Number: endpointNumber(uid)}
}

func tableNumber(id policy.TableID, n policy.Numbers) uint32 {
	if id == "" {
		return 0
	}
	if number := n.Tables[id]; number != 0 {
		return number
	}
	return closedTable
}

func tableEntries(t policy.Table, number uint32, n policy.Numbers, classes map[policy.ClassID]policy.Class) []TableEntry {
	out := make([]TableEntry, 0, len(t.Entries)+1)
	rest := policy.Forwarded
	if t.AuditRest {
		rest = policy.Audited
	}
	allowed := !t.DefaultDeny
	for _, e := range t.Entries {
		entry := TableEntry{
			Table:     number,
			Identity:  uint32(e.Identity),
			Protocol:  uint8(e.Protocol),
			Port:      e.Port,
			PrefixLen: e.PrefixLen,
			Verdict:   e.Verdict,
		}
		if len(e.Rules) > 0 {
			entry.Rule = n.Rules[e.Rules[0]]
		}
		if e.Verdict == policy.Redirected {
			if entry.Class = n.Classes[e.Class]; entry.Class == 0 {
				entry.Verdict = policy.Denied
			} else {
				class := classes[e.Class]
				entry.Failure, entry.Backend = class.Failure, class.Backend()
			}
		}
		if e.Identity == policy.IdentityAny && e.Protocol == policy.ProtocolAny {
			allowed = false
		}
		out = append(out, entry)
	}
	if allowed {
		// No default deny: an entry for everything, which every other one is more specific than.
		out = append(out, TableEntry{Table: number, Verdict: rest})
	}
	return out
}

func addressEntries(addresses []policy.Address) []AddressEntry {
	out := make([]AddressEntry, 0, len(addresses)+1)
	everyIPv4, coversIPv4 := false, false
	mapped := netip.AddrFrom16(netip.IPv4Unspecified().As16())
	for _, a := range addresses {
		p := a.Prefix.Masked()
		switch {
		case p.Addr().Is4() && p.Bits() == 0:
			everyIPv4 = true
		case p.Addr().Is6() && p.Bits() < 96 && p.Contains(mapped):
			coversIPv4 = true
		}
		out = append(out, AddressEntry{Prefix: p, Identity: uint32(a.Identity)})
	}
	if coversIPv4 && !everyIPv4 {
		// An IPv6 prefix such as ::/0 says nothing of IPv4.
		out = append(out, AddressEntry{Prefix: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Identity: uint32(policy.IdentityWorld)})
	}
	slices.SortFunc(out, AddressEntry.Compare)
	return out
}

func endpointNumber(uid string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(uid))
	return h.Sum32()
}
