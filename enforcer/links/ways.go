package links

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/proxyns"
)

// Way is an interface that leads out of a pod's namespace.
type Way struct {
	// Path is the namespace's file, ID the namespace itself.
	Path string
	ID   netns.ID
	// Ifindex is the interface's in the pod's namespace, Name its name there, Kind what it is.
	Ifindex    int
	Name, Kind string
}

// String says which interface it is, to people.
func (w Way) String() string { return fmt.Sprintf("%s (%s)", w.Name, w.Kind) }

// looksAtFirst is how many scans read a namespace anew, whatever is known of it: plugins add
// interfaces one after the other, and not all can be seen from the node.
const looksAtFirst = 20

// Ways returns the interfaces that lead out of the namespace which holds one of addrs, but for
// the one that [Finder.Find] returns: those that no policy is enforced on. They are sorted.
func (f *Finder) Ways(addrs []netip.Addr) []Way {
	found := f.find(addrs)
	if found == nil {
		return nil
	}
	enforced := found.link.PodIfindex
	if found.problem != "" {
		enforced = 0
	}
	return slices.DeleteFunc(slices.Clone(f.spaces[found.link.Path].ways), func(w Way) bool { return w.Ifindex == enforced })
}

// leadsOut says whether an interface of a namespace leads out of it to the node, or is a device
// of its own. Those that a pod makes within its namespace, and to namespaces of its own, do not.
// Nor do the proxy's: they are how its pod is reached by the programs.
func leadsOut(l netlink.Link, node int, hostLinks map[int]*netlink.LinkAttrs) bool {
	a := l.Attrs()
	for leg := 1; leg <= proxyns.Legs; leg++ {
		if host, ok := hostLinks[a.ParentIndex]; ok && l.Type() == "veth" && host.Name == proxyns.HostName(leg) && host.ParentIndex == a.Index {
			return false
		}
	}
	if l.Type() == "device" {
		return a.EncapType != "loopback"
	}
	return node >= 0 && a.NetNsID == node && a.ParentIndex != 0
}

// nodeID is the number by which a namespace knows the node's; -1 is none: nothing leads there.
func (f *Finder) nodeID(h *netlink.Handle) int {
	id, err := h.GetNetNsIdByFd(int(f.own.Fd()))
	if err != nil {
		return -1
	}
	return id
}
