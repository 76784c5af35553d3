package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// TestNodeLimit gives a node more than it has room for: the largest tables are closed, and
// their policies told; the others stay as they are.
func TestNodeLimit(t *testing.T) {
	s := bigSnapshot(100, 10)
	wide := &s.Policies[3].Specs[0].Egress.Rules[1]
	wide.Peers = nil
	for i := range 200 {
		wide.Peers = append(wide.Peers, Peer{CIDR: &CIDR{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{30, 0, byte(i), 0}), 24)}})
	}
	plain := compile(s, maxNode()).out
	if len(plain.Problems()) != 0 {
		t.Fatalf("with room: %v", plain.Problems())
	}
	for name, most := range map[string]limits{"entries": {entries: 150, classes: 100}, "classes": {entries: 100_000, classes: 0}} {
		c := compile(s, most).out
		for node := range c.nodes {
			np := c.Local(node)
			n := 0
			for _, table := range np.Tables {
				n += len(table.Entries)
				if strings.HasPrefix(string(table.ID), "closed-") && (!table.DefaultDeny || len(table.Entries) != 0) {
					t.Errorf("%s: a closed table is open: %+v", name, table)
				}
			}
			if n > most.entries || len(np.Classes) > most.classes {
				t.Errorf("%s: node %s has %d entries and %d classes", name, node, n, len(np.Classes))
			}
		}
		problems := c.Problems()
		if len(problems) == 0 {
			t.Fatalf("%s: nobody was told", name)
		}
		for _, p := range problems {
			if p.Path == "" || p.Reason != ReasonUnsupported {
				t.Errorf("%s: %+v", name, p)
			}
			if name == "entries" && p.Policy != s.Policies[3].Ref {
				t.Errorf("another policy was closed: %+v", p)
			}
		}
	}
}

func TestIdentityLabelsAreBounded(t *testing.T) {
	s := bigSnapshot(10, 1)
	labels := Labels{}
	for key, value := range s.Identities[0].Labels {
		labels[key] = value
	}
	for i := range MaxIdentityLabels {
		labels[fmt.Sprint("k8s:a", i)] = ""
	}
	s.Identities[0].Labels = labels
	for i := range s.Endpoints {
		s.Endpoints[i].Labels = labels
	}
	_, identities := Compile(s).Cluster()
	for _, il := range identities {
		if len(il.Labels) > MaxIdentityLabels {
			t.Errorf("identity %d has %d labels", il.Identity, len(il.Labels))
		}
		if il.Identity == FirstClusterIdentity && il.Labels[LabelNamespace] != "ns0" {
			t.Error("the namespace is not among them")
		}
	}
}
