// Package proxyns makes the network namespace of the proxy pod ready for policed traffic.
//
// In: the namespace, as a file that the pod's launcher sent. Out: the veth between the
// node and that namespace ([Link]), with addresses, routes, rules and sysctls behind it.
// Everything is idempotent: what is as it should be is not touched, so that setting up
// again (a new enforcer) does not disturb a connection.
package proxyns

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/netns"
)

// The names and addresses of the veth. They are seen in the proxy's namespace only,
// but for HostName.
const (
	HostName  = "l7p0"
	ProxyName = "l7p1"
)

// Link is the veth between the node and the proxy's namespace.
type Link struct {
	HostIfindex, ProxyIfindex int
	HostMAC, ProxyMAC         net.HardwareAddr
	// Cookie is the namespace's, as BPF helpers see it.
	Cookie uint64
}

// Config says how to set up. The zero value is the default.
type Config struct {
	// ProcSys are directories to try for /proc/sys before a proc file system of our own.
	ProcSys []string
	// MTU of the veth; 0 leaves the kernel's default.
	MTU int
}

// Setup makes ns ready and returns its link. A veth that leads to another namespace (an
// earlier proxy's) is removed.
func Setup(ns *os.File, cfg Config) (Link, error) {
	host, err := netlink.NewHandle()
	if err != nil {
		return Link{}, fmt.Errorf("open netlink: %w", err)
	}
	defer host.Close()
	proxy, err := netns.Handle(ns)
	if err != nil {
		return Link{}, err
	}
	defer proxy.Close()
	hostSide, proxySide, err := veth(ns, host, proxy)
	if err != nil {
		return Link{}, err
	}
	if err := setMTU(host, hostSide, cfg.MTU); err != nil {
		return Link{}, err
	}
	if err := setMTU(proxy, proxySide, cfg.MTU); err != nil {
		return Link{}, err
	}
	// The node's stack has no business on this interface: no address, not even a link-local one.
	if err := host.LinkSetIP6AddrGenMode(hostSide, 1); err != nil && !errors.Is(err, os.ErrNotExist) {
		return Link{}, fmt.Errorf("keep %s without addresses: %w", HostName, err)
	}
	if err := host.LinkSetUp(hostSide); err != nil {
		return Link{}, fmt.Errorf("set %s up: %w", HostName, err)
	}
	if err := applySysctls(ns, cfg.ProcSys); err != nil {
		return Link{}, err
	}
	if err := proxy.LinkSetUp(proxySide); err != nil {
		return Link{}, fmt.Errorf("set %s up: %w", ProxyName, err)
	}
	if err := route(proxy, proxySide, hostSide.Attrs().HardwareAddr); err != nil {
		return Link{}, err
	}
	cookie, err := netns.Cookie(ns)
	if err != nil {
		return Link{}, err
	}
	return Link{
		HostIfindex: hostSide.Attrs().Index, HostMAC: hostSide.Attrs().HardwareAddr,
		ProxyIfindex: proxySide.Attrs().Index, ProxyMAC: proxySide.Attrs().HardwareAddr,
		Cookie: cookie,
	}, nil
}

// Remove deletes the veth, wherever it leads.
func Remove() error {
	host, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer host.Close()
	return remove(host, HostName)
}

// setMTU raises the MTU: no pod may send a packet that does not fit through.
func setMTU(h *netlink.Handle, l netlink.Link, mtu int) error {
	if mtu <= l.Attrs().MTU {
		return nil
	}
	if err := h.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", l.Attrs().Name, mtu, err)
	}
	return nil
}

// veth returns both sides of the veth; it is made if there is none that joins the two namespaces.
func veth(ns *os.File, host, proxy *netlink.Handle) (hostSide, proxySide netlink.Link, err error) {
	if hostSide, proxySide, ok := existing(ns, host, proxy); ok {
		return hostSide, proxySide, nil
	}
	if err := errors.Join(remove(host, HostName), remove(proxy, ProxyName)); err != nil {
		return nil, nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = HostName
	// Addresses that are chosen here: udev gives an interface with a random one another,
	// some time after it was made.
	attrs.HardwareAddr = randomMAC()
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerHardwareAddr, v.PeerNamespace = ProxyName, randomMAC(), netlink.NsFd(int(ns.Fd()))
	if err := host.LinkAdd(v); err != nil {
		return nil, nil, fmt.Errorf("create veth %s to the proxy's namespace: %w", HostName, err)
	}
	hostSide, proxySide, ok := existing(ns, host, proxy)
	if !ok {
		return nil, nil, fmt.Errorf("create veth %s to the proxy's namespace: it is not there", HostName)
	}
	return hostSide, proxySide, nil
}

// randomMAC is a unicast address of the range that nobody gives out.
func randomMAC() net.HardwareAddr {
	mac := make(net.HardwareAddr, 6)
	rand.Read(mac) // never fails
	mac[0] = mac[0]&0xfc | 0x02
	return mac
}

// existing returns both sides if they name each other, by index and by namespace.
func existing(ns *os.File, host, proxy *netlink.Handle) (hostSide, proxySide netlink.Link, ok bool) {
	hostSide, err := host.LinkByName(HostName)
	if err != nil {
		return nil, nil, false
	}
	proxySide, err = proxy.LinkByName(ProxyName)
	if err != nil {
		return nil, nil, false
	}
	h, p := hostSide.Attrs(), proxySide.Attrs()
	id, err := host.GetNetNsIdByFd(int(ns.Fd()))
	return hostSide, proxySide, err == nil && hostSide.Type() == "veth" &&
		h.ParentIndex == p.Index && p.ParentIndex == h.Index && h.NetNsID == id
}

func remove(h *netlink.Handle, name string) error {
	l, err := h.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = h.LinkDel(l)
	}
	if err != nil {
		return fmt.Errorf("delete interface %s: %w", name, err)
	}
	return nil
}
