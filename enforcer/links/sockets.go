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

// destroy ends one connection of the thread's namespace. Where it has none of that tuple the
// kernel would find the socket that listens for it, and end that: so the connection's own
// socket is looked for first, and only the one that was found is ended.
func destroy(c Connection) error {
	look := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, 0)
	look.AddData(diagRequest{Connection: c, cookie: noCookie})
	found, err := look.Execute(unix.NETLINK_INET_DIAG, nl.SOCK_DIAG_BY_FAMILY)
	if err != nil {
		return err
	}
	const stateAt, cookieAt, cookieEnd = 1, 44, 52 // in struct inet_diag_msg
	if len(found) == 0 || len(found[0]) < cookieEnd || !isOpen(found[0][stateAt]) {
		return unix.ENOENT
	}
	request := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
	request.AddData(diagRequest{Connection: c, cookie: binary.NativeEndian.Uint64(found[0][cookieAt:])})
	if _, err = request.Execute(unix.NETLINK_INET_DIAG, 0); errors.Is(err, unix.ESTALE) {
		return unix.ENOENT // it ended meanwhile, and another socket was found
	}
	return err
}

// isOpen is false for a socket that listens, and for one of which only the memory is left.
func isOpen(state byte) bool {
	return state != netlink.TCP_LISTEN && state != netlink.TCP_TIME_WAIT && state != netlink.TCP_CLOSE
}

// noCookie is for any socket (INET_DIAG_NOCOOKIE, twice).
const noCookie = 1<<64 - 1

// diagRequest is struct inet_diag_req_v2 for one connection.
type diagRequest struct {
	Connection
	cookie uint64
}

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
	binary.NativeEndian.PutUint64(b[48:], c.cookie)
	return b
}
