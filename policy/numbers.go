package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// The ports of a node's class listeners.
const (
	FirstClassPort uint16 = 33000
	LastClassPort  uint16 = 59999
)

// Numbers are a node's own short names for what a [NodePolicy] names by text. 0 is never
// a number: what has none (because all are taken) must be treated as denied.
type Numbers struct {
	Tables map[TableID]uint32
	// Classes are the ports of the classes' listeners.
	Classes map[ClassID]uint16
	Rules   map[RuleID]uint32

	// The last number of each kind that was given. The search for the next begins
	// behind it, so that a freed number is used again as late as possible.
	lastTable, lastRule uint32
	lastClass           uint16
}

// Assign returns the numbers for np. Whatever np or one of keep names keeps the number it
// has; keep are earlier policies that may still be in a map. Everything else is let go.
func (n Numbers) Assign(np NodePolicy, keep ...NodePolicy) Numbers {
	tables, classes, rules := map[TableID]bool{}, map[ClassID]bool{}, map[RuleID]bool{}
	names(np, tables, classes, rules)
	for _, k := range keep {
		names(k, tables, classes, rules)
	}
	out := Numbers{}
	out.Tables, out.lastTable = assign(n.Tables, n.lastTable, tables, 1, 1<<32-1, cmp.Compare[TableID])
	out.Classes, out.lastClass = assign(n.Classes, n.lastClass, classes, FirstClassPort, LastClassPort, cmp.Compare[ClassID])
	out.Rules, out.lastRule = assign(n.Rules, n.lastRule, rules, 1, 1<<32-1, CompareRuleIDs)
	return out
}

// Table returns the table with that number.
func (n Numbers) Table(number uint32) (TableID, bool) { return keyOf(n.Tables, number) }

// Class returns the class whose listener has that port.
func (n Numbers) Class(port uint16) (ClassID, bool) { return keyOf(n.Classes, port) }

// Rule returns the rule with that number. It is a search: for many look-ups use [Numbers.RulesByNumber].
func (n Numbers) Rule(number uint32) (RuleID, bool) { return keyOf(n.Rules, number) }

// RulesByNumber returns Rules the other way round.
func (n Numbers) RulesByNumber() map[uint32]RuleID {
	out := make(map[uint32]RuleID, len(n.Rules))
	for id, number := range n.Rules {
		out[number] = id
	}
	return out
}

func names(np NodePolicy, tables map[TableID]bool, classes map[ClassID]bool, rules map[RuleID]bool) {
	for _, t := range np.Tables {
		tables[t.ID] = true
		for _, e := range t.Entries {
			for _, r := range e.Rules {
				rules[r] = true
			}
		}
	}
	for _, c := range np.Classes {
		classes[c.ID] = true
		for _, r := range c.HTTP {
			rules[r.ID] = true
		}
		for _, r := range c.DNS {
			rules[r.ID] = true
		}
		for _, r := range c.Kafka {
			rules[r.ID] = true
		}
		if c.AllowAll != nil {
			rules[*c.AllowAll] = true
		}
	}
}

type number interface{ uint16 | uint32 }

// assign keeps the numbers of those used and gives the others, in order, numbers from first to last.
func assign[K comparable, N number](old map[K]N, cursor N, used map[K]bool, first, last N, compare func(a, b K) int) (map[K]N, N) {
	out := make(map[K]N, len(used))
	taken := make(map[N]bool, len(used))
	var fresh []K
	for k := range used {
		if v, ok := old[k]; ok && v >= first && v <= last && !taken[v] {
			out[k] = v
			taken[v] = true
			continue
		}
		fresh = append(fresh, k)
	}
	slices.SortFunc(fresh, compare)
	for _, k := range fresh {
		if uint64(len(taken)) > uint64(last-first) {
			break
		}
		for {
			if cursor < first || cursor >= last {
				cursor = first
			} else {
				cursor++
			}
			if !taken[cursor] {
				break
			}
		}
		out[k] = cursor
		taken[cursor] = true
	}
	return out, cursor
}

func keyOf[K comparable, N number](m map[K]N, number N) (K, bool) {
	for k, v := range m {
		if v == number {
			return k, true
		}
	}
	var none K
	return none, false
}

// numbersJSON is the form on disk. Rules are a list: a RuleID cannot be a JSON key.
type numbersJSON struct {
	Tables    map[TableID]uint32 `json:"tables,omitempty"`
	Classes   map[ClassID]uint16 `json:"classes,omitempty"`
	Rules     []numberedRule     `json:"rules,omitempty"`
	LastTable uint32             `json:"lastTable,omitempty"`
	LastClass uint16             `json:"lastClass,omitempty"`
	LastRule  uint32             `json:"lastRule,omitempty"`
}

type numberedRule struct {
	Number uint32 `json:"number"`
	Rule   RuleID `json:"rule"`
}

// MarshalJSON writes equal Numbers as equal text.
func (n Numbers) MarshalJSON() ([]byte, error) {
	out := numbersJSON{Tables: n.Tables, Classes: n.Classes, LastTable: n.lastTable, LastClass: n.lastClass, LastRule: n.lastRule}
	for id, number := range n.Rules {
		out.Rules = append(out.Rules, numberedRule{Number: number, Rule: id})
	}
	slices.SortFunc(out.Rules, func(a, b numberedRule) int { return cmp.Compare(a.Number, b.Number) })
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (n *Numbers) UnmarshalJSON(data []byte) error {
	var in numbersJSON
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("read numbers: %w", err)
	}
	*n = Numbers{Tables: map[TableID]uint32{}, Classes: map[ClassID]uint16{}, Rules: make(map[RuleID]uint32, len(in.Rules)),
		lastTable: in.LastTable, lastClass: in.LastClass, lastRule: in.LastRule}
	maps.Copy(n.Tables, in.Tables)
	maps.Copy(n.Classes, in.Classes)
	for _, r := range in.Rules {
		n.Rules[r.Rule] = r.Number
	}
	return nil
}
