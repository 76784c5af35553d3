package proxyns

import (
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The routing of the proxy's namespace. What comes in through the veths is delivered
// locally, whatever its destination. What Envoy sends on a policed connection goes out
// through its leg's veth: its sockets carry the mark of their leg. What has a foreign
// source without a mark goes to the first one, and ends there; it would else leave through
// the pod's own interface, with an address that is not the pod's.
const (
	tableLocal = 100
	tableLeg   = 100 // and the leg's number
	prefIn     = 0   // before the table of the namespace's own addresses
	prefMark   = 100
	prefOwn    = 200
	prefRest   = 300
)

// gateway is the node's side as the proxy's namespace sees it: it answers to no
// address, so its neighbour entries are permanent.
type gateway struct {
	family       int
	own, gateway net.IP
	bits         int
	any          *net.IPNet
}

func gateways() []gateway {
	return []gateway{
		{unix.AF_INET, net.IPv4(169, 254, 7, 2).To4(), net.IPv4(169, 254, 7, 1).To4(), 32,
			&net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}},
		{unix.AF_INET6, net.ParseIP("fe80::7:2"), net.ParseIP("fe80::7:1"), 128,
			&net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}},
	}
}

func route(h *netlink.Handle, sides [Legs]netlink.Link) error {
	lo, err := h.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find lo in the proxy's namespace: %w", err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("set lo up in the proxy's namespace: %w", err)
	}
	for _, g := range gateways() {
		err := routeFamily(h, g, sides, lo.Attrs().Index)
		if g.family == unix.AF_INET6 && noIPv6(err) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// noIPv6 is true for the errors of a kernel or namespace that has IPv6 turned off:
// its policed IPv6 traffic is not delivered anywhere.
func noIPv6(err error) bool {
	return errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM)
}

func routeFamily(h *netlink.Handle, g gateway, sides [Legs]netlink.Link, lo int) error {
	local := &netlink.Route{Family: g.family, LinkIndex: lo, Dst: g.any, Table: tableLocal, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST}
	if err := h.RouteReplace(local); err != nil {
		return fmt.Errorf("set route of table %d: %w", tableLocal, err)
	}
	for i, side := range sides {
		if err := routeLeg(h, g, side, tableLeg+i+1); err != nil {
			return err
		}
	}
	return rules(h, g)
}

func routeLeg(h *netlink.Handle, g gateway, side netlink.Link, table int) error {
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: g.own, Mask: net.CIDRMask(g.bits, g.bits)}, Scope: unix.RT_SCOPE_LINK}
	if g.family == unix.AF_INET {
		addr.Peer = &net.IPNet{IP: g.gateway, Mask: net.CIDRMask(g.bits, g.bits)}
	} else {
		addr.Flags = unix.IFA_F_NODAD
	}
	name, index := side.Attrs().Name, side.Attrs().Index
	if err := h.AddrReplace(side, addr); err != nil {
		return fmt.Errorf("give %s the address %s: %w", name, g.own, err)
	}
	neigh := &netlink.Neigh{LinkIndex: index, Family: g.family, State: netlink.NUD_PERMANENT, IP: g.gateway, HardwareAddr: hostMAC()}
	if err := h.NeighSet(neigh); err != nil {
		return fmt.Errorf("set neighbour %s of %s: %w", g.gateway, name, err)
	}
	r := &netlink.Route{Family: g.family, LinkIndex: index, Dst: g.any, Table: table, Gw: g.gateway, Flags: unix.RTNH_F_ONLINK}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("set route of table %d: %w", table, err)
	}
	return nil
}

// rules sets the rules of one family and removes what an earlier version left in their places.
func rules(h *netlink.Handle, g gateway) error {
	wanted, err := wantedRules(h, g)
	if err != nil {
		return err
	}
	have, err := h.RuleList(g.family)
	if err != nil {
		return fmt.Errorf("list rules: %w", err)
	}
	there := map[string]bool{}
	for _, r := range have {
		there[ruleKey(&r)] = true
	}
	keep := map[string]bool{}
	for _, r := range wanted {
		keep[ruleKey(r)] = true
		if there[ruleKey(r)] {
			continue
		}
		if err := h.RuleAdd(r); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add rule %q: %w", r, err)
		}
	}
	for _, r := range have {
		ours := r.Priority >= prefMark && r.Priority <= prefRest
		if ours && !keep[ruleKey(&r)] {
			r.Family = g.family
			if err := h.RuleDel(&r); err != nil {
				return fmt.Errorf("delete rule %q: %w", r, err)
			}
		}
	}
	return nil
}

func wantedRules(h *netlink.Handle, g gateway) ([]*netlink.Rule, error) {
	rule := func(pref, table int) *netlink.Rule {
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table = g.family, pref, table
		return r
	}
	var wanted []*netlink.Rule
	for leg := 1; leg <= Legs; leg++ {
		in, out := rule(prefIn, tableLocal), rule(prefMark+leg, tableLeg+leg)
		in.IifName, out.Mark = ProxyName(leg), uint32(leg)
		wanted = append(wanted, in, out)
	}
	own, err := h.AddrList(nil, g.family)
	if err != nil {
		return nil, fmt.Errorf("list the proxy's addresses: %w", err)
	}
	sources := []*net.IPNet{{IP: g.any.IP, Mask: net.CIDRMask(g.bits, g.bits)}}
	for _, a := range own {
		sources = append(sources, &net.IPNet{IP: a.IP, Mask: net.CIDRMask(g.bits, g.bits)})
	}
	for _, src := range sources {
		r := rule(prefOwn, unix.RT_TABLE_MAIN)
		r.Src = src
		wanted = append(wanted, r)
	}
	rest := rule(prefRest, tableLeg+1)
	rest.IifName = "lo"
	return append(wanted, rest), nil
}

func ruleKey(r *netlink.Rule) string {
	src := ""
	if r.Src != nil {
		src = r.Src.String()
	}
	return fmt.Sprint(r.Priority, r.Table, r.Mark, r.IifName, src)
}
