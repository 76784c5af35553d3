package bpf

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/septum-dev/septum/policy"
)

func ruleID(path string) policy.RuleID { return policy.RuleID{Path: path} }

func numbers() policy.Numbers {
	return policy.Numbers{
		Tables:  map[policy.TableID]uint32{"in": 7, "out": 8},
		Classes: map[policy.ClassID]uint16{"c": 33001},
		Rules:   map[policy.RuleID]uint32{ruleID("a"): 1, ruleID("b"): 2},
	}
}

func TestEntries(t *testing.T) {
	prefix := netip.MustParsePrefix
	tests := []struct {
		name string
		np   policy.NodePolicy
		want State
	}{
		{"nothing", policy.NodePolicy{}, State{}},
		{
			"endpoints, by address",
			policy.NodePolicy{
				Endpoints: []policy.EndpointPolicy{
					{Key: "n/b", UID: "b", Addrs: []netip.Addr{addr("10.0.0.2"), addr("fd00::2")}, Ingress: "in", Egress: "out"},
					{Key: "n/a", UID: "a", Addrs: []netip.Addr{addr("10.0.0.1")}, Ingress: "in"},
					{Key: "n/h", UID: "h", Addrs: []netip.Addr{addr("10.0.0.9")}, Ingress: "in", HostNetwork: true},
				},
				Tables: []policy.Table{{ID: "in", DefaultDeny: true}, {ID: "out", DefaultDeny: true, Audit: true}},
			},
			State{Endpoints: []EndpointEntry{
				{Addr: addr("10.0.0.1"), Number: endpointNumber("a"), Ingress: 7},
				{Addr: addr("10.0.0.2"), Number: endpointNumber("b"), Ingress: 7, Egress: 8, AuditEgress: true},
				{Addr: addr("fd00::2"), Number: endpointNumber("b"), Ingress: 7, Egress: 8, AuditEgress: true},
			}},
		},
		{
			"what has no number is closed",
			policy.NodePolicy{
				Endpoints: []policy.EndpointPolicy{{UID: "a", Addrs: []netip.Addr{addr("10.0.0.1")}, Ingress: "unknown", Egress: "in"}},
				Tables: []policy.Table{
					{ID: "in", DefaultDeny: true, Entries: []policy.Entry{
						{Identity: 300, Protocol: policy.ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: policy.Redirected, Class: "unknown", Rules: []policy.RuleID{ruleID("unknown")}},
					}},
					{ID: "unknown", Entries: []policy.Entry{{Verdict: policy.Forwarded}}},
				},
			},
			State{
				Endpoints: []EndpointEntry{{Addr: addr("10.0.0.1"), Number: endpointNumber("a"), Ingress: closedTable, Egress: 7}},
				Tables:    []TableEntry{{Table: 7, Identity: 300, Protocol: 6, Port: 80, PrefixLen: 16, Verdict: policy.Denied}},
			},
		},
		{
			"entries, sorted, with the first of their rules",
			policy.NodePolicy{Tables: []policy.Table{{ID: "in", DefaultDeny: true, Entries: []policy.Entry{
				{Identity: 300, Protocol: policy.ProtocolTCP, Port: 80, PrefixLen: 16, Verdict: policy.Redirected, Class: "c", Rules: []policy.RuleID{ruleID("b"), ruleID("a")}},
				{Identity: 300, Protocol: policy.ProtocolTCP, Port: 64, PrefixLen: 12, Verdict: policy.Denied, Rules: []policy.RuleID{ruleID("a")}},
				{Verdict: policy.Forwarded},
			}}}},
			State{Tables: []TableEntry{
				{Table: 7, Verdict: policy.Forwarded},
				{Table: 7, Identity: 300, Protocol: 6, Port: 64, PrefixLen: 12, Verdict: policy.Denied, Rule: 1},
				{Table: 7, Identity: 300, Protocol: 6, Port: 80, PrefixLen: 16, Verdict: policy.Redirected, Class: 33001, Rule: 2},
			}},
		},
		{
			"no default deny",
			policy.NodePolicy{Tables: []policy.Table{{ID: "in"}, {ID: "out", Entries: []policy.Entry{{Verdict: policy.Denied}}}}},
			State{Tables: []TableEntry{{Table: 7, Verdict: policy.Forwarded}, {Table: 8, Verdict: policy.Denied}}},
		},
		{
			"addresses",
			policy.NodePolicy{Addresses: []policy.Address{
				{Prefix: prefix("10.0.0.77/8"), Identity: 3}, {Prefix: prefix("10.0.0.1/32"), Identity: 300}, {Prefix: prefix("fd00::/64"), Identity: 4},
			}},
			State{Addresses: []AddressEntry{
				{Prefix: prefix("10.0.0.0/8"), Identity: 3}, {Prefix: prefix("10.0.0.1/32"), Identity: 300}, {Prefix: prefix("fd00::/64"), Identity: 4},
			}},
		},
		{
			"every IPv6 address is no IPv4 address",
			policy.NodePolicy{Addresses: []policy.Address{{Prefix: prefix("::/0"), Identity: 1 << 30}}},
			State{Addresses: []AddressEntry{{Prefix: prefix("0.0.0.0/0"), Identity: 2}, {Prefix: prefix("::/0"), Identity: 1 << 30}}},
		},
		{
			"every address of both",
			policy.NodePolicy{Addresses: []policy.Address{{Prefix: prefix("::/0"), Identity: 1 << 30}, {Prefix: prefix("0.0.0.0/0"), Identity: 1<<30 + 1}}},
			State{Addresses: []AddressEntry{{Prefix: prefix("0.0.0.0/0"), Identity: 1<<30 + 1}, {Prefix: prefix("::/0"), Identity: 1 << 30}}},
		},
	}
	compare := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }), cmpopts.EquateEmpty()}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := Entries(test.np, numbers())
			if diff := cmp.Diff(test.want, got, compare); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			// The order of what goes in does not matter.
			slices.Reverse(test.np.Endpoints)
			slices.Reverse(test.np.Addresses)
			slices.Reverse(test.np.Tables)
			if again := Entries(test.np, numbers()); !reflect.DeepEqual(got, again) {
				t.Errorf("another order of the input gave another state:\n%+v\n%+v", got, again)
			}
		})
	}
}

func TestKernelKeys(t *testing.T) {
	k, v := TableEntry{Table: 1, Identity: 2, Protocol: 6, Port: 0x1f90, PrefixLen: 12, Verdict: policy.Redirected, Class: 33001, Rule: 9}.kernel()
	if want := (septumTableKey{Prefixlen: 84, Table: 1, Identity: 2, Protocol: 6, Port: [2]uint8{0x1f, 0x90}}); k != want {
		t.Errorf("key %+v, want %+v", k, want)
	}
	if want := (septumTableValue{Rule: 9, ClassPort: 33001, Verdict: 2}); v != want {
		t.Errorf("value %+v, want %+v", v, want)
	}
	if k, _ := (TableEntry{Table: 1}).kernel(); k.Prefixlen != 64 {
		t.Errorf("an entry for everything has %d bits, want 64", k.Prefixlen)
	}
	if k, _ := (AddressEntry{Prefix: netip.MustParsePrefix("10.0.0.0/8")}).kernel(); k.Prefixlen != 104 || addrOfKey(k.Addr) != addr("10.0.0.0") {
		t.Errorf("IPv4 prefix: %+v", k)
	}
}
