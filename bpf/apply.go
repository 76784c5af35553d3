package bpf

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/septum-dev/septum/policy"
)

// ErrFull is returned by [Datapath.Apply] when a state does not fit into the maps. Nothing
// has been written then.
var ErrFull = errors.New("map is full")

// Apply makes the maps hold s, and does nothing where they do. At every moment a packet gets
// its old verdict, its new one or a stricter one: verdicts that deny are written first and
// removed last, and a table before the endpoints that name it. Connections are judged
// again by the new state.
func (d *Datapath) Apply(s State) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.readMirror(); err != nil {
		return err
	}
	tables := planOf(d.objs.Tables, d.mirror.tables, wanted(s.Tables, TableEntry.kernel))
	identities := wanted(s.Addresses, AddressEntry.kernel)
	addresses := planOf(d.objs.Addresses, d.mirror.addresses, identities)
	hosts := planOf(d.objs.Hosts, d.mirror.hosts, hostIdentities(maps.Keys(d.mirror.hosts), identities))
	endpoints := planOf(d.objs.Endpoints, d.mirror.endpoints, wanted(s.Endpoints, EndpointEntry.kernel))
	successors := planOf(d.objs.Successors, d.mirror.successors, wanted(s.Successors, SuccessorEntry.kernel))
	if err := errors.Join(tables.fits(), addresses.fits(), endpoints.fits(), successors.fits()); err != nil {
		return err
	}
	if tables.empty() && addresses.empty() && hosts.empty() && endpoints.empty() && successors.empty() {
		return nil
	}
	slices.SortFunc(tables.puts, func(a, b pair[septumTableKey, septumTableValue]) int {
		return cmp.Compare(openness(a.value), openness(b.value))
	})
	slices.SortFunc(tables.deletes, func(a, b septumTableKey) int {
		return cmp.Compare(openness(d.mirror.tables[b]), openness(d.mirror.tables[a]))
	})
	// What failed half way is read anew the next time.
	mirror := d.mirror
	d.mirror = nil
	err := inOrder(successors.put, tables.put, addresses.put, hosts.put, endpoints.put, endpoints.delete, addresses.delete, tables.delete, successors.delete)
	if err := errors.Join(err, d.bumpGeneration()); err != nil {
		return err
	}
	d.mirror = mirror
	return d.pruneCounters(s.Tables)
}

// SetHostAddrs says which addresses are the node's own.
func (d *Datapath) SetHostAddrs(addrs []netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.readMirror(); err != nil {
		return err
	}
	keys := make([]septumAddr, len(addrs))
	for i, a := range addrs {
		keys[i] = keyOfAddr(a.Unmap().WithZone(""))
	}
	p := planOf(d.objs.Hosts, d.mirror.hosts, hostIdentities(slices.Values(keys), d.mirror.addresses))
	if err := p.fits(); err != nil || p.empty() {
		return err
	}
	return errors.Join(inOrder(p.put, p.delete), d.bumpGeneration())
}

// SetOwners says which addresses are behind which interface (its index on the node), of all
// the node's pods: what one sends with another's address is dropped.
func (d *Datapath) SetOwners(addrs map[int][]netip.Addr) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.readMirror(); err != nil {
		return err
	}
	want := map[septumOwnerKey]uint8{}
	for ifindex, list := range addrs {
		want[septumOwnerKey{Ifindex: uint32(ifindex)}] = 1
		for _, a := range list {
			want[septumOwnerKey{Ifindex: uint32(ifindex), Addr: keyOfAddr(a.Unmap().WithZone(""))}] = 1
		}
	}
	p := planOf(d.objs.Owners, d.mirror.owners, want)
	if err := p.fits(); err != nil {
		return err
	}
	// An address goes before it is somebody else's, and comes before its interface is one.
	slices.SortFunc(p.puts, func(a, b pair[septumOwnerKey, uint8]) int {
		return cmp.Compare(unmarked(a.key), unmarked(b.key))
	})
	slices.SortFunc(p.deletes, func(a, b septumOwnerKey) int { return cmp.Compare(unmarked(b), unmarked(a)) })
	return inOrder(p.delete, p.put)
}

// unmarked orders the keys that only say that an interface is a pod's behind the others.
func unmarked(k septumOwnerKey) int {
	if k.Addr == (septumAddr{}) {
		return 1
	}
	return 0
}

// hostIdentities gives the node's addresses the identities that they have as peers: that of
// the node, but where the policy names the very address (as that of the API server).
func hostIdentities(hosts iter.Seq[septumAddr], identities map[septumAddressKey]uint32) map[septumAddr]uint32 {
	out := map[septumAddr]uint32{}
	for k := range hosts {
		identity, ok := identities[septumAddressKey{Prefixlen: 128, Addr: k}]
		if !ok {
			identity = uint32(policy.IdentityHost)
		}
		out[k] = identity
	}
	return out
}

// inOrder runs steps up to the first that fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// bumpGeneration has every connection judged again by its next packet.
func (d *Datapath) bumpGeneration() error {
	return d.updateNode(func(n *septumNodeConfig) { n.Generation++ })
}

// openness orders verdicts from the strictest.
func openness(v septumTableValue) int {
	switch policy.Verdict(v.Verdict) {
	case policy.Denied:
		return 0
	case policy.Redirected:
		return 1 + int(v.Flags&septumValueFlagsVALUE_OPEN)
	default:
		return 3
	}
}

// mirror is what the maps hold.
type mirror struct {
	tables    map[septumTableKey]septumTableValue
	addresses map[septumAddressKey]uint32
	endpoints map[septumAddr]septumEndpoint
	hosts     map[septumAddr]uint32
	owners    map[septumOwnerKey]uint8
	// successors are ports of listeners.
	successors map[uint32]uint32
}

func (d *Datapath) readMirror() error {
	if d.mirror != nil {
		return nil
	}
	tables, errT := readMap[septumTableKey, septumTableValue](d.objs.Tables)
	addresses, errA := readMap[septumAddressKey, uint32](d.objs.Addresses)
	endpoints, errE := readMap[septumAddr, septumEndpoint](d.objs.Endpoints)
	hosts, errH := readMap[septumAddr, uint32](d.objs.Hosts)
	owners, errO := readMap[septumOwnerKey, uint8](d.objs.Owners)
	successors, errS := readMap[uint32, uint32](d.objs.Successors)
	if err := errors.Join(errT, errA, errE, errH, errO, errS); err != nil {
		return fmt.Errorf("read maps: %w", err)
	}
	d.mirror = &mirror{tables: tables, addresses: addresses, endpoints: endpoints, hosts: hosts, owners: owners, successors: successors}
	return nil
}

func readMap[K, V comparable](m *ebpf.Map) (map[K]V, error) {
	out := map[K]V{}
	var k K
	var v V
	it := m.Iterate()
	for it.Next(&k, &v) {
		out[k] = v
	}
	return out, it.Err()
}

func wanted[E any, K, V comparable](entries []E, kernel func(E) (K, V)) map[K]V {
	out := make(map[K]V, len(entries))
	for _, e := range entries {
		k, v := kernel(e)
		out[k] = v
	}
	return out
}

type pair[K, V comparable] struct {
	key   K
	value V
}

// plan is what has to be written to a map, and have is kept up with what was.
type plan[K, V comparable] struct {
	m       *ebpf.Map
	have    map[K]V
	added   int
	puts    []pair[K, V]
	deletes []K
}

func planOf[K, V comparable](m *ebpf.Map, have, want map[K]V) *plan[K, V] {
	p := &plan[K, V]{m: m, have: have}
	for k, v := range want {
		old, ok := have[k]
		if !ok {
			p.added++
		}
		if !ok || old != v {
			p.puts = append(p.puts, pair[K, V]{k, v})
		}
	}
	for k := range have {
		if _, ok := want[k]; !ok {
			p.deletes = append(p.deletes, k)
		}
	}
	return p
}

func (p *plan[K, V]) empty() bool { return len(p.puts)+len(p.deletes) == 0 }

func (p *plan[K, V]) fits() error {
	if n := len(p.have) + p.added; n > int(p.m.MaxEntries()) {
		return fmt.Errorf("%w: %v needs %d entries of %d", ErrFull, p.m, n, p.m.MaxEntries())
	}
	return nil
}

func (p *plan[K, V]) put() error {
	for _, e := range p.puts {
		if err := p.m.Put(e.key, e.value); err != nil {
			return fmt.Errorf("write %v: %w", p.m, err)
		}
		p.have[e.key] = e.value
	}
	return nil
}

func (p *plan[K, V]) delete() error {
	for _, k := range p.deletes {
		if err := p.m.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete from %v: %w", p.m, err)
		}
		delete(p.have, k)
	}
	return nil
}
