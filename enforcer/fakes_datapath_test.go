package enforcer

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/links"
	"github.com/septum-dev/septum/policy"
)

// Datapath.

func (w *world) Apply(s bpf.State) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.failing["maps"]; err != nil {
		return err
	}
	w.written = s
	var ends []string
	for _, e := range s.Endpoints {
		ends = append(ends, e.Addr.String())
	}
	w.note("maps %s", strings.Join(ends, ","))
	return nil
}

func (w *world) SetHostAddrs([]netip.Addr) error { return nil }

func (w *world) SetOwners(owners map[int][]netip.Addr) error {
	w.set(func() { w.owners = owners })
	return nil
}

func (w *world) Guard(interfaces []int) error {
	w.set(func() { w.guarded = interfaces })
	return nil
}

func (w *world) Shut(interfaces []bpf.PodInterface, _ bool) error {
	w.set(func() { w.shut = interfaces })
	return nil
}

func (w *world) AttachPod(l bpf.PodLink) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.failing["attach"]; err != nil {
		return err
	}
	w.note("attach %s to %d", l.Key, l.Ifindex)
	w.attached = append(w.attached, l.Ifindex)
	return nil
}

func (w *world) DetachPod(ifindex int) error {
	w.set(func() {
		w.note("detach %d", ifindex)
		w.attached = slices.DeleteFunc(w.attached, func(i int) bool { return i == ifindex })
	})
	return nil
}

func (w *world) Attached() ([]int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.attached), nil
}

func (w *world) AttachProxy(bpf.ProxyLink) error { return nil }

// Listeners are all that have a number, unless the test says that Envoy is deaf.
func (w *world) SetProxySilent(b policy.Backend, silent bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b == policy.BackendEnvoy && silent != w.silent { // the other is never there
		w.silent = silent
		w.note("Envoy silent: %v", silent)
	}
	return nil
}

func (w *world) Listeners() ([]uint16, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ports []uint16
	if !w.deaf {
		for _, port := range w.numbers.Classes {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

func (w *world) Sweep() ([]bpf.Ended, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended, nil
}

func (w *world) InUse() ([]bpf.Use, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.used, nil
}

func (w *world) Proxied(netip.AddrPort, netip.AddrPort) bool { return false }

func (w *world) Fills() (map[string]bpf.Fill, error) { return nil, nil }

func (w *world) KeepPinned() ([]string, error) { return nil, nil }

func (w *world) PutFirst() ([]int, error) { return nil, nil }

func (w *world) ProxyIsAttached() (bool, error) { return true, nil }

// Audit finds what the test says, once.
func (w *world) Audit() ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tampered := w.tampered
	w.tampered = nil
	return tampered, nil
}

func (w *world) Counters() (map[uint32]bpf.Counter, map[string]uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[uint32]bpf.Counter{}
	for k, v := range w.rules {
		out[k] = v
	}
	return out, map[string]uint64{}, nil
}

// Links: an interface's index is its Ifindex, and it is there while an address has it.

func (w *world) Scan(bool) error { return nil }

func (w *world) Find(addrs []netip.Addr) (links.Link, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.failing["find"]; err != nil {
		return links.Link{}, err
	}
	if l, ok := w.veths[addrs[0].String()]; ok {
		return l, nil
	}
	return links.Link{}, links.ErrNotFound
}

func (w *world) Ways(addrs []netip.Addr) []links.Way {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ways[addrs[0].String()]
}

func (w *world) Has(ifindex int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.veths {
		if l.Ifindex == ifindex {
			return true
		}
	}
	return false
}

// Cut sees the connections w.open in every pod.
func (w *world) Cut(_ links.Link, keep func(links.Connection) bool) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.open {
		if !keep(c) {
			n++
			w.note("cut %s", c.Remote)
		}
	}
	return n, nil
}

func (w *world) End(_ *os.File, connections []links.Connection) error {
	w.set(func() { w.note("end at the proxy %v", connections) })
	return nil
}

func (w *world) EndOf(l links.Link, connections []links.Connection) error {
	w.set(func() { w.note("end at %d %v", l.Ifindex, connections) })
	return nil
}

func (w *world) HostAddrs() ([]netip.Addr, error) { return nil, nil }
