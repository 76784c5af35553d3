package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"testing"
)

func namedPolicy(tables, classes, rules int) NodePolicy {
	var np NodePolicy
	for i := range tables {
		np.Tables = append(np.Tables, Table{ID: TableID(fmt.Sprint("t", i))})
	}
	for i := range classes {
		np.Classes = append(np.Classes, Class{ID: ClassID(fmt.Sprint("c", i))})
	}
	for i := range rules {
		np.Tables[0].Entries = append(np.Tables[0].Entries, Entry{Rules: []RuleID{{Path: fmt.Sprint("spec.ingress[", i, "]")}}})
	}
	return np
}

func TestNumbersAreStable(t *testing.T) {
	var n Numbers
	first := n.Assign(namedPolicy(2, 2, 3))
	want := Numbers{
		Tables:    map[TableID]uint32{"t0": 1, "t1": 2},
		Classes:   map[ClassID]uint16{"c0": 33000, "c1": 33001},
		Rules:     map[RuleID]uint32{{Path: "spec.ingress[0]"}: 1, {Path: "spec.ingress[1]"}: 2, {Path: "spec.ingress[2]"}: 3},
		lastTable: 2, lastClass: 33001, lastRule: 3,
	}
	if !reflect.DeepEqual(first, want) {
		t.Fatalf("first numbers:\n got %+v\nwant %+v", first, want)
	}
	if again := first.Assign(namedPolicy(2, 2, 3)); !reflect.DeepEqual(again, first) {
		t.Fatalf("numbers changed without a change: %+v", again)
	}

	small := first.Assign(namedPolicy(1, 1, 1))
	if len(small.Tables) != 1 || len(small.Classes) != 1 || len(small.Rules) != 1 {
		t.Fatalf("unused numbers were kept: %+v", small)
	}
	if kept := first.Assign(namedPolicy(1, 1, 1), namedPolicy(2, 2, 3)); !reflect.DeepEqual(kept, first) {
		t.Fatalf("numbers still in a map were let go: %+v", kept)
	}
	back := small.Assign(namedPolicy(2, 2, 3))
	if back.Tables["t1"] != 3 || back.Classes["c1"] != 33002 || back.Rules[RuleID{Path: "spec.ingress[1]"}] != 4 {
		t.Fatalf("a freed number came back at once: %+v", back)
	}
}

func TestNumbersRunOut(t *testing.T) {
	all := int(LastClassPort-FirstClassPort) + 1
	n := Numbers{}.Assign(namedPolicy(1, all+5, 0))
	if len(n.Classes) != all {
		t.Fatalf("%d classes have a port, want %d", len(n.Classes), all)
	}
	seen := map[uint16]bool{}
	for id, port := range n.Classes {
		if port < FirstClassPort || port > LastClassPort || seen[port] {
			t.Fatalf("class %s has port %d", id, port)
		}
		seen[port] = true
	}
	// Freed ports are found again after the end of the range.
	fresh := NodePolicy{Classes: []Class{{ID: "c0"}, {ID: "new"}}}
	if n = n.Assign(fresh); n.Classes["new"] < FirstClassPort || n.Classes["new"] == n.Classes["c0"] {
		t.Fatalf("ports after the end: %v", n.Classes)
	}
}

func TestNumbersReverse(t *testing.T) {
	n := Numbers{}.Assign(namedPolicy(2, 2, 3))
	if id, ok := n.Rule(2); !ok || id.Path != "spec.ingress[1]" {
		t.Errorf("Rule(2) = %v, %v", id, ok)
	}
	if id, ok := n.Rule(0); ok {
		t.Errorf("Rule(0) = %v, want none", id)
	}
	if id, ok := n.Table(2); !ok || id != "t1" {
		t.Errorf("Table(2) = %v, %v", id, ok)
	}
	if id, ok := n.Class(33001); !ok || id != "c1" {
		t.Errorf("Class(33001) = %v, %v", id, ok)
	}
	for number, id := range n.RulesByNumber() {
		if n.Rules[id] != number {
			t.Errorf("RulesByNumber: %d is %v", number, id)
		}
	}
}

func TestNumbersJSON(t *testing.T) {
	n := Numbers{}.Assign(namedPolicy(2, 2, 3)).Assign(namedPolicy(1, 1, 1))
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	var back Numbers
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(n, back) {
		t.Errorf("read back:\n got %+v\nwant %+v", back, n)
	}
	var empty Numbers
	if err := json.Unmarshal([]byte("{}"), &empty); err != nil || empty.Tables == nil || empty.Rules == nil {
		t.Errorf("empty numbers: %+v, %v", empty, err)
	}
	if err := json.Unmarshal([]byte(`{"rules":1}`), &empty); err == nil {
		t.Error("bad numbers were read")
	}
	if maps.Equal(n.Rules, map[RuleID]uint32{}) {
		t.Error("the test has no rules")
	}
}

func TestCompareRuleIDs(t *testing.T) {
	sorted := []string{"spec.egress[0]", "spec.ingress[2]", "spec.ingress[2].toPorts[0]", "spec.ingress[9]", "spec.ingress[10]", "specs[0]"}
	for i, a := range sorted {
		for j, b := range sorted {
			got := CompareRuleIDs(RuleID{Path: a}, RuleID{Path: b})
			if (got < 0) != (i < j) || (got > 0) != (i > j) {
				t.Errorf("CompareRuleIDs(%s, %s) = %d", a, b, got)
			}
		}
	}
}
