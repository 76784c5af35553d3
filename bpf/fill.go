package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
)

// Fill is how full a map is. One of connections takes the place of the oldest when it is full;
// others refuse what does not fit.
type Fill struct{ Entries, Max int }

// Fills returns how full the maps are, by name. Those of connections are read to count them,
// as the kernel does not say.
func (d *Datapath) Fills() (map[string]Fill, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.readMirror(); err != nil {
		return nil, err
	}
	fill := func(m *ebpf.Map, entries int) Fill { return Fill{Entries: entries, Max: int(m.MaxEntries())} }
	conns, errC := entriesOf[septumConnKey, septumConn](d.objs.Conns)
	datagrams, errD := entriesOf[septumConnKey, septumConn](d.objs.Datagrams)
	if err := errors.Join(errC, errD); err != nil {
		return nil, fmt.Errorf("count the entries of maps: %w", err)
	}
	return map[string]Fill{
		"tables":     fill(d.objs.Tables, len(d.mirror.tables)),
		"addresses":  fill(d.objs.Addresses, len(d.mirror.addresses)),
		"endpoints":  fill(d.objs.Endpoints, len(d.mirror.endpoints)),
		"hosts":      fill(d.objs.Hosts, len(d.mirror.hosts)),
		"owners":     fill(d.objs.Owners, len(d.mirror.owners)),
		"successors": fill(d.objs.Successors, len(d.mirror.successors)),
		"conns":      fill(d.objs.Conns, conns),
		"datagrams":  fill(d.objs.Datagrams, datagrams),
	}, nil
}

// entriesOf counts a map's entries, in a few calls.
func entriesOf[K, V any](m *ebpf.Map) (int, error) {
	const batch = 4096
	keys, values := make([]K, batch), make([]V, batch)
	var cursor ebpf.MapBatchCursor
	for total := 0; ; {
		n, err := m.BatchLookup(&cursor, keys, values, nil)
		total += n
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return total, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read %v: %w", m, err)
		}
	}
}
