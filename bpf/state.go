package bpf

import (
	"cmp"
	"net/netip"

	"github.com/septum-dev/septum/policy"
)

// State is everything that the policy writes into the maps. Each slice is sorted by its
// entries' Compare, without two entries for one key.
type State struct {
	Endpoints []EndpointEntry
	Addresses []AddressEntry
	Tables    []TableEntry
	// Successors are the classes that policy has left behind and whose connections go on.
	Successors []SuccessorEntry
}

// SuccessorEntry says that a class which nothing leads to any more has the rules of another.
type SuccessorEntry struct {
	// Class and Successor are ports of listeners; Successor 0 is that everything is allowed.
	Class, Successor uint16
}

// EndpointEntry is what one address of a pod may do.
type EndpointEntry struct {
	Addr netip.Addr
	// Number is a hash of the pod's UID: an address that comes to another pod has another.
	Number uint32
	// Ingress and Egress are numbers of tables; 0 allows everything.
	Ingress, Egress uint32
	// AuditIngress and AuditEgress let go on, and report, what the table denies.
	AuditIngress, AuditEgress bool
}

// AddressEntry is the identity of the addresses in a prefix.
type AddressEntry struct {
	Prefix   netip.Prefix
	Identity uint32
}

// TableEntry is one verdict of a table.
type TableEntry struct {
	Table, Identity uint32
	// Protocol 0 is every protocol.
	Protocol uint8
	// Port's PrefixLen highest bits are compared.
	Port      uint16
	PrefixLen uint8
	// Verdict is any; Audited goes on and is reported.
	Verdict policy.Verdict
	// Class is the port of the listener, if Verdict is Redirected.
	Class uint16
	// Rule is the number that events and counters name; 0 is none.
	Rule uint32
	// Failure is what becomes of a Redirected connection that the proxy cannot judge.
	Failure policy.Failure
	// Backend is the proxy that it goes to.
	Backend policy.Backend
}

// Compare orders by address.
func (e EndpointEntry) Compare(o EndpointEntry) int { return e.Addr.Compare(o.Addr) }

// Compare orders by address, then from the widest to the narrowest prefix.
func (e AddressEntry) Compare(o AddressEntry) int {
	return cmp.Or(e.Prefix.Addr().Compare(o.Prefix.Addr()), cmp.Compare(e.Prefix.Bits(), o.Prefix.Bits()))
}

// Compare orders by table, identity, protocol, port and prefix length.
func (e TableEntry) Compare(o TableEntry) int {
	return cmp.Or(cmp.Compare(e.Table, o.Table), cmp.Compare(e.Identity, o.Identity),
		cmp.Compare(e.Protocol, o.Protocol), cmp.Compare(e.Port, o.Port), cmp.Compare(e.PrefixLen, o.PrefixLen))
}

// Compare orders by the class that is left behind.
func (e SuccessorEntry) Compare(o SuccessorEntry) int { return cmp.Compare(e.Class, o.Class) }

func (e SuccessorEntry) kernel() (uint32, uint32) { return uint32(e.Class), uint32(e.Successor) }

func keyOfAddr(a netip.Addr) septumAddr { return septumAddr{B: a.As16()} }

func addrOfKey(k septumAddr) netip.Addr { return netip.AddrFrom16(k.B).Unmap() }

func (e EndpointEntry) kernel() (septumAddr, septumEndpoint) {
	v := septumEndpoint{Number: e.Number, Ingress: e.Ingress, Egress: e.Egress}
	if e.AuditIngress {
		v.Flags |= septumEndpointFlagsENDPOINT_AUDIT_INGRESS
	}
	if e.AuditEgress {
		v.Flags |= septumEndpointFlagsENDPOINT_AUDIT_EGRESS
	}
	return keyOfAddr(e.Addr), v
}

func (e AddressEntry) kernel() (septumAddressKey, uint32) {
	bits := e.Prefix.Bits()
	if e.Prefix.Addr().Is4() {
		bits += 96
	}
	return septumAddressKey{Prefixlen: uint32(bits), Addr: keyOfAddr(e.Prefix.Addr())}, e.Identity
}

// tableBits are the bits of a table's number and an identity, the least that an entry has.
const tableBits = 64

func (e TableEntry) kernel() (septumTableKey, septumTableValue) {
	k := septumTableKey{Prefixlen: tableBits, Table: e.Table, Identity: e.Identity, Protocol: e.Protocol}
	if e.Protocol != 0 {
		k.Prefixlen += 8 + uint32(e.PrefixLen)
		k.Port = [2]uint8{uint8(e.Port >> 8), uint8(e.Port)}
	}
	v := septumTableValue{Rule: e.Rule, ClassPort: e.Class, Verdict: uint8(e.Verdict)}
	if e.Failure == policy.FailOpen {
		v.Flags |= septumValueFlagsVALUE_OPEN
	}
	if e.Backend == policy.BackendOwn {
		v.Flags |= septumValueFlagsVALUE_OWN
	}
	return k, v
}
