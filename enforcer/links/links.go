// Package links finds the host side of pods' veths.
//
// In: the directories where the container runtime keeps its network namespaces, and a
// pod's addresses. Out: the [Link] of the pod, or why it has none. Interfaces are found
// by address and peer index from inside the pod's namespace, never by name.
package links

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/septum-dev/septum/enforcer/netns"
)

// Link is a pod's veth. Ifindex and HostMAC are the node's side.
type Link struct {
	// Path is the namespace's file, ID the namespace itself.
	Path string
	ID   netns.ID
	// Ifindex is the host side's index, PodIfindex the pod side's in its own namespace.
	Ifindex, PodIfindex int
	PodMAC, HostMAC     net.HardwareAddr
	// Addrs are all of the interface's addresses but link-local ones, sorted.
	Addrs []netip.Addr
	// MTU is the pod side's.
	MTU int
	// Bridged is true where the host side is a port of a bridge.
	Bridged bool
}

// The reasons why a pod has no Link.
var (
	// ErrNotFound says that no namespace holds one of the addresses (yet).
	ErrNotFound = errors.New("no network namespace holds the pod's address")
	// ErrNoVeth says that the interface which holds the address is not a veth whose
	// other side is in the node's own namespace: ipvlan, macvlan, SR-IOV and the like.
	ErrNoVeth = errors.New("the pod's interface is not a veth with its other side on the node")
)

// Find returns the link of the interface that holds one of addrs, out of what the last
// [Finder.Scan] saw. Where two namespaces hold an address, the newer interface counts:
// the older one's pod has given its address back.
func (f *Finder) Find(addrs []netip.Addr) (Link, error) {
	found := f.find(addrs)
	switch {
	case found == nil && f.empty() > 0:
		return Link{}, fmt.Errorf("%w: %v (%d files are no namespaces: are mounts propagated to %v?)", ErrNotFound, addrs, f.empty(), f.dirs)
	case found == nil:
		return Link{}, fmt.Errorf("%w: %v", ErrNotFound, addrs)
	case found.problem != "":
		return Link{}, fmt.Errorf("%w: %s in %s", ErrNoVeth, found.problem, found.link.Path)
	}
	return found.link, nil
}

// find returns the interface that holds one of addrs, or nil.
func (f *Finder) find(addrs []netip.Addr) *candidate {
	var found *candidate
	for _, ns := range f.spaces {
		for i := range ns.candidates {
			c := &ns.candidates[i]
			if !slices.ContainsFunc(addrs, func(a netip.Addr) bool { return slices.Contains(c.link.Addrs, a) }) {
				continue
			}
			if found == nil || newer(c, found) {
				found = c
			}
		}
	}
	return found
}

// empty counts the files that no namespace is mounted on.
func (f *Finder) empty() int {
	n := 0
	for _, ns := range f.spaces {
		if ns.empty {
			n++
		}
	}
	return n
}

// newer prefers a link that can be enforced, then the one made last: the kernel gives
// interface indexes in rising order.
func newer(a, b *candidate) bool {
	if (a.problem == "") != (b.problem == "") {
		return a.problem == ""
	}
	if a.link.Ifindex != b.link.Ifindex {
		return a.link.Ifindex > b.link.Ifindex
	}
	return a.link.Path > b.link.Path
}
