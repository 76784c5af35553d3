package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Counter counts, for one rule, the connections (and first datagrams of flows) that it decided.
type Counter struct {
	Forwarded, Denied, Redirected, Audited uint64
	// Unjudged went on without their layer 7 rules, as the proxy could not judge them.
	Unjudged uint64
}

// Counters returns the counters by rule number, where 0 is default deny and what needs no
// rule, and the dropped packets by reason (see [Reasons]). They begin when the maps are made.
func (d *Datapath) Counters() (map[uint32]Counter, map[string]uint64, error) {
	rules := map[uint32]Counter{}
	var rule uint32
	var perCPU []septumCounter
	it := d.objs.Counters.Iterate()
	for it.Next(&rule, &perCPU) {
		var sum Counter
		for _, c := range perCPU {
			sum.Forwarded += c.Forwarded
			sum.Denied += c.Denied
			sum.Redirected += c.Redirected
			sum.Audited += c.Audited
			sum.Unjudged += c.Unjudged
		}
		rules[rule] = sum
	}
	if err := it.Err(); err != nil {
		return nil, nil, fmt.Errorf("read counters: %w", err)
	}
	drops := map[string]uint64{}
	for reason, word := range reasons() {
		if word == "" {
			continue
		}
		var perCPU []uint64
		if err := d.objs.Drops.Lookup(uint32(reason), &perCPU); err != nil {
			return nil, nil, fmt.Errorf("read drops: %w", err)
		}
		for _, n := range perCPU {
			drops[word] += n
		}
	}
	return rules, drops, nil
}

// pruneCounters removes the counters of rules that no table has: their numbers may be given
// to others.
func (d *Datapath) pruneCounters(tables []TableEntry) error {
	live := map[uint32]bool{0: true}
	for _, e := range tables {
		live[e.Rule] = true
	}
	var gone []uint32
	var rule uint32
	var perCPU []septumCounter
	it := d.objs.Counters.Iterate()
	for it.Next(&rule, &perCPU) {
		if !live[rule] {
			gone = append(gone, rule)
		}
	}
	if err := it.Err(); err != nil {
		return fmt.Errorf("read counters: %w", err)
	}
	for _, rule := range gone {
		if err := d.objs.Counters.Delete(rule); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete counter: %w", err)
		}
	}
	return nil
}
