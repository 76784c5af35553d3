package policy

import (
	"reflect"
	"testing"
)

func TestPrefixes(t *testing.T) {
	for _, c := range []struct {
		lo, hi uint16
		want   []portPrefix
	}{
		{80, 80, []portPrefix{{80, 16}}},
		{0, 65535, []portPrefix{{0, 0}}},
		{0, 32767, []portPrefix{{0, 1}}},
		{1, 4, []portPrefix{{1, 16}, {2, 15}, {4, 16}}},
		{65534, 65535, []portPrefix{{65534, 15}}},
		{65535, 65535, []portPrefix{{65535, 16}}},
	} {
		if got := prefixes(c.lo, c.hi); !reflect.DeepEqual(got, c.want) {
			t.Errorf("prefixes(%d, %d) = %v, want %v", c.lo, c.hi, got, c.want)
		}
	}
	for _, c := range [][2]uint16{{1, 65535}, {1000, 2000}, {33000, 59999}} {
		held := 0
		list := prefixes(c[0], c[1])
		for port := range 1 << 16 {
			n := 0
			for _, p := range list {
				if (Entry{Protocol: ProtocolTCP, Port: p.port, PrefixLen: p.length}).matches(ProtocolTCP, uint16(port)) {
					n++
				}
			}
			if want := port >= int(c[0]) && port <= int(c[1]); n > 1 || (n == 1) != want {
				t.Fatalf("%v: port %d is held %d times", c, port, n)
			}
			held += n
		}
		if held != int(c[1]-c[0])+1 || len(list) > 30 {
			t.Errorf("%v: %d ports in %d prefixes", c, held, len(list))
		}
	}
}

func TestRangesOf(t *testing.T) {
	for _, c := range []struct {
		port Port
		want []portRange
	}{
		{Port{Protocol: ProtocolTCP, Port: 80}, []portRange{{ProtocolTCP, 80, 80}}},
		{Port{Protocol: ProtocolUDP}, []portRange{{ProtocolUDP, 0, 65535}}},
		{Port{Protocol: ProtocolTCP, Port: 80, EndPort: 90}, []portRange{{ProtocolTCP, 80, 90}}},
		{Port{Protocol: ProtocolTCP, Port: 90, EndPort: 80}, nil},
		{Port{Port: 53}, []portRange{{ProtocolTCP, 53, 53}, {ProtocolUDP, 53, 53}, {ProtocolSCTP, 53, 53}}},
		{Port{Protocol: ProtocolTCP, Name: "http"}, nil},
		{Port{Protocol: ProtocolICMP, ICMPType: 8}, []portRange{{ProtocolICMP, 0x0800, 0x08ff}}},
		{Port{Protocol: ProtocolICMPv6, ICMPType: -1}, []portRange{{ProtocolICMPv6, 0, 65535}}},
		{Port{Protocol: ProtocolICMP, ICMPType: 256}, nil},
	} {
		if got := rangesOf(c.port); !reflect.DeepEqual(got, c.want) {
			t.Errorf("rangesOf(%+v) = %v, want %v", c.port, got, c.want)
		}
	}
}

func TestNamedRanges(t *testing.T) {
	ports := []NamedPort{{"http", ProtocolTCP, 80}, {"dns", ProtocolTCP, 53}, {"dns", ProtocolUDP, 53}, {"two", ProtocolTCP, 1}, {"two", ProtocolTCP, 2}}
	for _, c := range []struct {
		name string
		port Port
		deny bool
		want []portRange
	}{
		{"found", Port{Protocol: ProtocolTCP, Name: "http"}, false, []portRange{{ProtocolTCP, 80, 80}}},
		{"other protocol", Port{Protocol: ProtocolUDP, Name: "http"}, false, nil},
		{"any protocol", Port{Name: "dns"}, false, []portRange{{ProtocolTCP, 53, 53}, {ProtocolUDP, 53, 53}}},
		{"missing", Port{Name: "none"}, true, nil},
		{"two ports, allow", Port{Name: "two"}, false, nil},
		{"two ports, deny", Port{Name: "two"}, true, []portRange{{ProtocolTCP, 1, 1}, {ProtocolTCP, 2, 2}}},
	} {
		if got := namedRanges(c.port, ports, c.deny); len(got)+len(c.want) > 0 && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// One port taken out of all must not cost sixteen entries.
func TestEntriesAreFew(t *testing.T) {
	s := sampleSnapshot()
	ref := s.Policies[0].Ref
	s.Policies[0].Specs[0].Ingress.Rules = []Rule{
		{ID: RuleID{Policy: ref, Path: "spec.ingress[0]"}, AnyPeer: true, Ports: []Port{{Protocol: ProtocolTCP}}},
		{ID: RuleID{Policy: ref, Path: "spec.ingressDeny[0]"}, Action: Deny, AnyPeer: true, Ports: []Port{{Protocol: ProtocolTCP, Port: 22}}},
	}
	table := Resolve(s, "n1").Tables[0]
	if len(table.Entries) != 3 {
		t.Errorf("%d entries, want one for TCP, one for port 22 and the host's: %+v", len(table.Entries), table.Entries)
	}
}
