package links

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/netns"
)

// Finder keeps what was seen in the namespaces. It is not safe for concurrent use.
type Finder struct {
	dirs   []string
	host   *netlink.Handle
	spaces map[string]space
	// own is the node's namespace.
	own *os.File
	// veths are the node's own, by index.
	veths map[int]*netlink.LinkAttrs
}

// space is one namespace file and the interfaces with addresses in it.
type space struct {
	id         netns.ID
	candidates []candidate
	// ways are the interfaces that lead out of it, looks how many scans have read them.
	ways  []Way
	looks int
	// empty is true for a file that no namespace is mounted on (yet).
	empty bool
}

// candidate is an interface that holds addresses; problem says why it cannot be enforced.
type candidate struct {
	link    Link
	problem string
}

// NewFinder returns a Finder for the namespaces in dirs, with the calling thread's
// namespace as the node's.
func NewFinder(dirs ...string) (*Finder, error) {
	host, err := netlink.NewHandle()
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		host.Close()
		return nil, fmt.Errorf("open own network namespace: %w", err)
	}
	return &Finder{dirs: dirs, host: host, own: own, spaces: map[string]space{}}, nil
}

// Close ends the Finder.
func (f *Finder) Close() {
	f.host.Close()
	f.own.Close()
}

// Scan brings the Finder up to date. Namespaces whose interfaces were seen before and
// are still there are not entered again, unless all is set.
// A namespace that cannot be read stays as it was, and is part of the error; the others count.
func (f *Finder) Scan(all bool) error {
	hostLinks, err := f.hostLinks()
	if err != nil {
		return err
	}
	f.veths = hostLinks
	var errs []error
	seen := map[string]bool{}
	for _, dir := range f.dirs {
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, fmt.Errorf("list network namespaces: %w", err))
		}
		for _, file := range files {
			path := filepath.Join(dir, file.Name())
			ns, err := f.look(path, hostLinks, all)
			switch {
			case errors.Is(err, os.ErrNotExist): // it went meanwhile
			case err != nil:
				errs = append(errs, err)
				seen[path] = true // what was known of it stays
			default:
				seen[path] = true
				f.spaces[path] = ns
			}
		}
	}
	for path := range f.spaces {
		if !seen[path] {
			delete(f.spaces, path)
		}
	}
	return errors.Join(errs...)
}

// Has says whether the last Scan saw a veth with the index on the node.
func (f *Finder) Has(ifindex int) bool { return f.veths[ifindex] != nil }

// hostLinks are the node's veths by index.
func (f *Finder) hostLinks() (map[int]*netlink.LinkAttrs, error) {
	list, err := f.host.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the node's interfaces: %w", err)
	}
	veths := map[int]*netlink.LinkAttrs{}
	for _, l := range list {
		if l.Type() == "veth" {
			veths[l.Attrs().Index] = l.Attrs()
		}
	}
	return veths, nil
}

// look reads one namespace. The file is closed again at once: an open one would keep
// the namespace, and the pod's veth, after the pod has gone.
func (f *Finder) look(path string, hostLinks map[int]*netlink.LinkAttrs, all bool) (space, error) {
	file, err := os.Open(path)
	if err != nil {
		return space{}, fmt.Errorf("open network namespace: %w", err)
	}
	defer file.Close()
	id, err := netns.Identify(file)
	if err != nil {
		// The runtime makes the file first and mounts the namespace on it then.
		return space{empty: true}, nil //nolint:nilerr // the next scan looks again
	}
	old, ok := f.spaces[path]
	known := ok && old.id == id
	if known && !all && old.looks >= looksAtFirst && old.settled(hostLinks) {
		return old, nil
	}
	ns := space{id: id, looks: 1}
	if known {
		ns.looks = old.looks + 1
	}
	h, err := netns.Handle(file)
	if err != nil {
		return space{}, err
	}
	defer h.Close()
	interfaces, err := h.LinkList()
	if err != nil {
		return space{}, fmt.Errorf("list interfaces of %s: %w", path, err)
	}
	node := f.nodeID(h)
	for _, l := range interfaces {
		if leadsOut(l, node, hostLinks) {
			ns.ways = append(ns.ways, Way{Path: path, ID: id, Ifindex: l.Attrs().Index, Name: l.Attrs().Name, Kind: l.Type()})
		}
		addrs, err := globalAddrs(h, l)
		if err != nil {
			return space{}, fmt.Errorf("list addresses in %s: %w", path, err)
		}
		if len(addrs) == 0 {
			continue
		}
		a := l.Attrs()
		link := Link{Path: path, ID: id, PodIfindex: a.Index, PodMAC: a.HardwareAddr, Addrs: addrs, MTU: a.MTU}
		ns.candidates = append(ns.candidates, f.candidate(file, link, l, hostLinks))
	}
	return ns, nil
}

// settled is true while every interface that was found still has its other side.
func (s space) settled(hostLinks map[int]*netlink.LinkAttrs) bool {
	for _, c := range s.candidates {
		host, ok := hostLinks[c.link.Ifindex]
		if c.problem != "" || !ok || !slices.Equal(host.HardwareAddr, c.link.HostMAC) || c.link.Bridged != (host.MasterIndex != 0) {
			return false
		}
	}
	return len(s.candidates) > 0
}

// candidate checks that an interface is one side of a veth, and that the other side is
// the node's: both sides must name each other, by index and by namespace.
func (f *Finder) candidate(file *os.File, link Link, l netlink.Link, hostLinks map[int]*netlink.LinkAttrs) candidate {
	a := l.Attrs()
	c := candidate{link: link}
	if l.Type() != "veth" {
		c.problem = fmt.Sprintf("%s is of type %s", a.Name, l.Type())
		return c
	}
	host, ok := hostLinks[a.ParentIndex]
	if !ok || host.ParentIndex != a.Index {
		c.problem = fmt.Sprintf("the other side of %s is not on the node", a.Name)
		return c
	}
	if nsid, err := f.host.GetNetNsIdByFd(int(file.Fd())); err != nil || nsid != host.NetNsID {
		c.problem = fmt.Sprintf("the other side of %s belongs to another namespace", a.Name)
		return c
	}
	c.link.Ifindex, c.link.HostMAC, c.link.Bridged = host.Index, host.HardwareAddr, host.MasterIndex != 0
	return c
}

func globalAddrs(h *netlink.Handle, l netlink.Link) ([]netip.Addr, error) {
	list, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, a := range list {
		addr, ok := netip.AddrFromSlice(a.IP)
		if addr = addr.Unmap(); ok && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() {
			addrs = append(addrs, addr)
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs, nil
}
