package bpf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/septum-dev/septum/policy"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Adopt lets a pod keep the TCP connections that it began before it was attached, as far as
// its egress allows them: without it, their replies are packets of nothing. It is to be
// called once, after [Datapath.AttachPod] and with the endpoint applied; ns is the pod's
// namespace. Connections to the pod are not adopted: they end, and come back through policy.
func (d *Datapath) Adopt(p PodLink, ns *os.File) error {
	var sockets []*netlink.Socket
	err := inNetNS(ns, func() error {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			found, err := netlink.SocketDiagTCP(family)
			if err != nil {
				return err
			}
			sockets = append(sockets, found...)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list sockets of pod %s: %w", p.Key, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, k := range outbound(sockets, p.Addrs) {
		if err := d.adopt(k); err != nil {
			return fmt.Errorf("adopt connection of pod %s: %w", p.Key, err)
		}
	}
	return nil
}

// outbound picks the open connections from ports that the pod does not listen on.
func outbound(sockets []*netlink.Socket, own []netip.Addr) []septumConnKey {
	listens := map[uint16]bool{}
	for _, s := range sockets {
		if s.State == netlink.TCP_LISTEN {
			listens[s.ID.SourcePort] = true
		}
	}
	open := []uint8{netlink.TCP_ESTABLISHED, netlink.TCP_CLOSE_WAIT, netlink.TCP_FIN_WAIT1, netlink.TCP_FIN_WAIT2}
	var out []septumConnKey
	for _, s := range sockets {
		pod, peer := addrOf(s.ID.Source), addrOf(s.ID.Destination)
		if slices.Contains(open, s.State) && !listens[s.ID.SourcePort] && slices.Contains(own, pod) {
			out = append(out, septumConnKey{Pod: keyOfAddr(pod), Peer: keyOfAddr(peer),
				PodPort: hostOrder(s.ID.SourcePort), PeerPort: hostOrder(s.ID.DestinationPort), Protocol: unix.IPPROTO_TCP})
		}
	}
	return out
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

func (d *Datapath) adopt(k septumConnKey) error {
	var ep septumEndpoint
	if err := d.objs.Endpoints.Lookup(k.Pod, &ep); err != nil {
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return nil // closed, until there is a policy
		}
		return err
	}
	var n septumNodeConfig
	if err := d.objs.Config.Lookup(uint32(0), &n); err != nil {
		return err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return err
	}
	// Another generation than the present one: the next packet has it judged.
	err := d.objs.Conns.Update(k, septumConn{
		Seen:       uint64(now.Nano()),
		Generation: n.Generation - 1,
		Endpoint:   ep.Number,
		Verdict:    uint8(policy.Forwarded),
		Direction:  uint8(policy.Egress),
		Flags:      septumConnFlagsCONN_REPLIED,
	}, ebpf.UpdateNoExist)
	if errors.Is(err, ebpf.ErrKeyExist) {
		return nil
	}
	return err
}
