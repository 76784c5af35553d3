package bpf

import (
	"net/netip"
	"testing"
)

// 77 is the interface that the steps' packets were received by.
func TestBorrowedAddresses(t *testing.T) {
	const neighbour, other = "10.0.1.30", "10.0.1.31"
	r := newRunner(t, pods()...)
	state := testState()
	state.Addresses = append(state.Addresses,
		AddressEntry{Prefix: netip.MustParsePrefix(neighbour + "/32"), Identity: 300},
		AddressEntry{Prefix: netip.MustParsePrefix(other + "/32"), Identity: 301})
	r.apply(state)
	owners := func(of map[int][]netip.Addr) func(*runner) {
		return func(r *runner) {
			if err := r.SetOwners(of); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.steps([]step{
		toPod("from an interface that is no pod's", udp(neighbour+":4000", server4+":53"), next, ""),
		toPod("its own", udp(neighbour+":4001", server4+":53"), next, "").after(owners(map[int][]netip.Addr{77: {addr(neighbour)}})),
		toPod("another pod's", udp(other+":4001", server4+":53"), drop, "spoofed"),
		toPod("outside of the cluster", tcp(outside+":4001", server4+":8080", syn), next, ""),
		toPod("of a known connection", udp(neighbour+":4001", server4+":53"), drop, "spoofed").
			after(owners(map[int][]netip.Addr{77: {addr(other)}, 78: {addr(neighbour)}})),
		toPod("the address has come to it", udp(neighbour+":4001", server4+":53"), next, "").
			after(owners(map[int][]netip.Addr{77: {addr(neighbour), addr(other)}})),
		toPod("no pods any more", udp("10.0.1.30:4003", server4+":53"), next, "").after(owners(nil)),
	})
}
