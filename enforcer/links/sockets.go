package links

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
)

// Connection is an open TCP connection of a pod.
type Connection struct {
	Local, Remote netip.AddrPort
	// Accepted is true where the pod is the server: it listens on the local port.
	Accepted bool
	// Interface is the index of the one that the socket is bound to; 0 is none.
	Interface int
}

// End ends these connections of a namespace; both sides are told. Those that it does not
// have are no error.
func (f *Finder) End(ns *os.File, connections []Connection) error {
	return netns.Do(ns, func() error {
		var errs []error
		for _, c := range connections {
			if err := destroy(c); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("end connection of %s with %s: %w", c.Local, c.Remote, err))
			}
		}
		return errors.Join(errs...)
	})
}

// EndOf is [Finder.End] for a pod.
func (f *Finder) EndOf(l Link, connections []Connection) error {
	file, err := open(l)
	if err != nil {
		return err
	}
	defer file.Close()
	return f.End(file, connections)
}

// open opens the link's namespace, if it still is that.
func open(l Link) (*os.File, error) {
	file, err := os.Open(l.Path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	if id, err := netns.Identify(file); err != nil || id != l.ID {
		return nil, errors.Join(fmt.Errorf("%s is another namespace now: %w", l.Path, errors.Join(err, os.ErrNotExist)), file.Close())
	}
	return file, nil
}

// Cut ends those open TCP connections of a pod's addresses that keep refuses; both sides
// are told. It returns how many it ended.
func (f *Finder) Cut(l Link, keep func(Connection) bool) (int, error) {
	file, err := open(l)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	cut := 0
	err = netns.Do(file, func() error {
		connections, err := connectionsOf(l.Addrs)
		if err != nil {
			return err
		}
		var errs []error
		for _, c := range connections {
			if keep(c) {
				continue
			}
			if err := destroy(c); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("end connection of %s with %s: %w", c.Local, c.Remote, err))
				continue
			}
			cut++
		}
		return errors.Join(errs...)
	})
	return cut, err
}

// connectionsOf are the open connections of the addresses, in the thread's namespace.
func connectionsOf(addrs []netip.Addr) ([]Connection, error) {
	listening := map[uint16]bool{}
	var open []Connection
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		sockets, err := netlink.SocketDiagTCP(family)
		if err != nil && !errors.Is(err, unix.ENOENT) { // no IPv6
			return nil, fmt.Errorf("list TCP sockets: %w", err)
		}
		for _, s := range sockets {
			switch s.State {
			case netlink.TCP_LISTEN:
				listening[s.ID.SourcePort] = true
			case netlink.TCP_ESTABLISHED, netlink.TCP_SYN_RECV, netlink.TCP_CLOSE_WAIT:
				local, _ := netip.AddrFromSlice(s.ID.Source)
				remote, _ := netip.AddrFromSlice(s.ID.Destination)
				open = append(open, Connection{
					Local: netip.AddrPortFrom(local.Unmap(), s.ID.SourcePort), Remote: netip.AddrPortFrom(remote.Unmap(), s.ID.DestinationPort),
				})
			}
		}
	}
	open = slices.DeleteFunc(open, func(c Connection) bool { return !slices.Contains(addrs, c.Local.Addr()) })
	for i := range open {
		open[i].Accepted = listening[open[i].Local.Port()]
	}
	return open, nil
}

// destroy ends one connection of the thread's namespace.
func destroy(c Connection) error {
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddData(diagRequest(c))
	_, err := request.Execute(unix.NETLINK_INET_DIAG, 0)
	return err
}

// diagRequest is struct inet_diag_req_v2 for one connection.
type diagRequest Connection

// Len is the struct's size.
func (diagRequest) Len() int { return 56 }

// Serialize writes the struct. An IPv4 address finds the sockets of both families.
func (c diagRequest) Serialize() []byte {
	family, ports, src, dst := uint8(unix.AF_INET6), 8, 12, 28
	if c.Local.Addr().Is4() {
		family = unix.AF_INET
	}
	b := make([]byte, 56)
	b[0], b[1] = family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], 0xfff)
	binary.BigEndian.PutUint16(b[ports:], c.Local.Port())
	binary.BigEndian.PutUint16(b[ports+2:], c.Remote.Port())
	copy(b[src:], c.Local.Addr().AsSlice())
	copy(b[dst:], c.Remote.Addr().AsSlice())
	binary.NativeEndian.PutUint32(b[44:], uint32(c.Interface))
	for _, cookie := range []int{48, 52} {
		binary.NativeEndian.PutUint32(b[cookie:], nl.TCPDIAG_NOCOOKIE)
	}
	return b
}
