package bpf

import "testing"

func TestFills(t *testing.T) {
	r := newRunner(t, pods()...)
	before, err := r.Fills()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5000 { // more than one batch
		if err := r.objs.Conns.Put(septumConnKey{PeerPort: uint16(i)}, septumConn{}); err != nil {
			t.Fatal(err)
		}
	}
	after, err := r.Fills()
	if err != nil {
		t.Fatal(err)
	}
	if got := after["conns"].Entries - before["conns"].Entries; got != 5000 || after["conns"].Max != int(r.objs.Conns.MaxEntries()) {
		t.Errorf("%d more connections, of %d at most", got, after["conns"].Max)
	}
	if len(after) != 8 || after["datagrams"] != before["datagrams"] {
		t.Errorf("the maps are %v", after)
	}
}
