// Package proxyns makes the network namespace of the proxy pod ready for policed traffic.
//
// In: the namespace, as a file that the pod's launcher sent. Out: the veths between the
// node and that namespace ([Link]), with addresses, routes, rules and sysctls behind them.
//
// Each of the four legs that proxied connections have (down and up, on ingress and on egress)
// has a veth of its own, to which the proxy's sockets of that leg are bound. The kernel tells
// such sockets apart though their addresses and ports are the same; so no connection can get
// into another one's way, whatever ports clients use.
// Everything is idempotent: what is as it should be is not touched, so that setting up
// again (a new enforcer) does not disturb a connection.
package proxyns

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/septum-dev/septum/enforcer/netns"
)

// Legs is how many legs there are. They count from 1, as the marks of Envoy's sockets do.
const Legs = 4

// HostName is the name of a leg's veth on the node.
func HostName(leg int) string { return fmt.Sprintf("l7p0-%d", leg) }

// ProxyName is the name of a leg's veth in the proxy's namespace.
func ProxyName(leg int) string { return fmt.Sprintf("l7p1-%d", leg) }

// firstIndex is the index of the first interface in the proxy's namespace, the others follow:
// sockets that are bound to a veth find the one that is made in its place.
const firstIndex = 7701

// Nobody but the two sides of a veth sees their addresses.
func hostMAC() net.HardwareAddr  { return net.HardwareAddr{0x02, 0x73, 0x65, 0x70, 0x74, 0xf0} }
func proxyMAC() net.HardwareAddr { return net.HardwareAddr{0x02, 0x73, 0x65, 0x70, 0x74, 0xf1} }

// Link is the veths between the node and the proxy's namespace, in the order of the legs.
type Link struct {
	HostIfindexes, ProxyIfindexes [Legs]int
	HostMAC, ProxyMAC             net.HardwareAddr
	// Cookie is the namespace's, as BPF helpers see it.
	Cookie uint64
}

// Config says how to set up. The zero value is the default.
type Config struct {
	// ProcSys are directories to try for /proc/sys before a proc file system of our own.
	ProcSys []string
	// MTU is the least that the veths are to have; 0 leaves the kernel's default.
	MTU int
	// Fit says that the MTU is also the most.
	Fit bool
}

// Setup makes ns ready and returns its veths. One that leads to another namespace (an
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
	out := Link{HostMAC: hostMAC(), ProxyMAC: proxyMAC()}
	var sides [Legs]netlink.Link
	for leg := 1; leg <= Legs; leg++ {
		hostSide, proxySide, err := veth(ns, host, proxy, leg)
		if err != nil {
			return Link{}, err
		}
		if err := errors.Join(setMTU(host, hostSide, cfg), setMTU(proxy, proxySide, cfg)); err != nil {
			return Link{}, err
		}
		if err := hostUp(host, hostSide); err != nil {
			return Link{}, err
		}
		sides[leg-1] = proxySide
		out.HostIfindexes[leg-1], out.ProxyIfindexes[leg-1] = hostSide.Attrs().Index, proxySide.Attrs().Index
	}
	if err := applySysctls(ns, cfg.ProcSys); err != nil {
		return Link{}, err
	}
	for _, side := range sides {
		if err := proxy.LinkSetUp(side); err != nil {
			return Link{}, fmt.Errorf("set %s up: %w", side.Attrs().Name, err)
		}
	}
	if err := route(proxy, sides); err != nil {
		return Link{}, err
	}
	if out.Cookie, err = netns.Cookie(ns); err != nil {
		return Link{}, err
	}
	return out, nil
}

// hostUp sets the node's side up. The node's stack has no business on it: it gets no address,
// not even a link-local one.
func hostUp(host *netlink.Handle, side netlink.Link) error {
	if err := host.LinkSetIP6AddrGenMode(side, 1); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("keep %s without addresses: %w", side.Attrs().Name, err)
	}
	if err := host.LinkSetUp(side); err != nil {
		return fmt.Errorf("set %s up: %w", side.Attrs().Name, err)
	}
	return nil
}

// Remove deletes the veths, wherever they lead.
func Remove() error {
	host, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer host.Close()
	var errs []error
	for leg := 1; leg <= Legs; leg++ {
		errs = append(errs, remove(host, HostName(leg)))
	}
	return errors.Join(errs...)
}

// setMTU raises the MTU: no pod may send a packet that does not fit through. Where it is to
// fit it may be lowered too.
func setMTU(h *netlink.Handle, l netlink.Link, cfg Config) error {
	mtu, now := cfg.MTU, l.Attrs().MTU
	if mtu == 0 || mtu == now || mtu < now && !cfg.Fit {
		return nil
	}
	if err := h.LinkSetMTU(l, mtu); err != nil {
		return fmt.Errorf("set MTU of %s to %d: %w", l.Attrs().Name, mtu, err)
	}
	return nil
}

// veth returns both sides of a leg's veth; it is made if there is none that joins the two
// namespaces.
func veth(ns *os.File, host, proxy *netlink.Handle, leg int) (hostSide, proxySide netlink.Link, err error) {
	if hostSide, proxySide, ok := existing(ns, host, proxy, leg); ok {
		return hostSide, proxySide, nil
	}
	if err := errors.Join(remove(host, HostName(leg)), remove(proxy, ProxyName(leg))); err != nil {
		return nil, nil, err
	}
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, nil, fmt.Errorf("open own network namespace: %w", err)
	}
	defer own.Close()
	// It is made from the proxy's side, whose index can be chosen so.
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.Index, attrs.HardwareAddr = ProxyName(leg), firstIndex+leg-1, proxyMAC()
	v := netlink.NewVeth(attrs)
	v.PeerName, v.PeerHardwareAddr, v.PeerNamespace = HostName(leg), hostMAC(), netlink.NsFd(int(own.Fd()))
	if err := proxy.LinkAdd(v); err != nil {
		return nil, nil, fmt.Errorf("create veth %s to the proxy's namespace: %w", HostName(leg), err)
	}
	hostSide, proxySide, ok := existing(ns, host, proxy, leg)
	if !ok {
		return nil, nil, fmt.Errorf("create veth %s to the proxy's namespace: it is not there", HostName(leg))
	}
	return hostSide, proxySide, nil
}

// existing returns both sides if they name each other, by index and by namespace.
func existing(ns *os.File, host, proxy *netlink.Handle, leg int) (hostSide, proxySide netlink.Link, ok bool) {
	hostSide, err := host.LinkByName(HostName(leg))
	if err != nil {
		return nil, nil, false
	}
	proxySide, err = proxy.LinkByName(ProxyName(leg))
	if err != nil {
		return nil, nil, false
	}
	h, p := hostSide.Attrs(), proxySide.Attrs()
	id, err := host.GetNetNsIdByFd(int(ns.Fd()))
	return hostSide, proxySide, err == nil && hostSide.Type() == "veth" && p.Index == firstIndex+leg-1 &&
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
