package node

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

func (n *Node) pinned(name string) (*ebpf.Map, error) {
	m, err := ebpf.LoadPinnedMap(n.Path("bpf/septum/v1/maps/"+name), nil)
	if err != nil {
		return nil, fmt.Errorf("open the map %s: %w", name, err)
	}
	return m, nil
}

// Mark is the mark that takes the proxy's frames past the programs. Who has it and can set it
// on a frame at a pod's veth has everything.
func (n *Node) Mark() (uint32, error) {
	m, err := n.pinned("config")
	if err != nil {
		return 0, err
	}
	defer m.Close()
	value := make([]byte, m.ValueSize())
	if err := m.Lookup(uint32(0), &value); err != nil {
		return 0, fmt.Errorf("read the node's configuration: %w", err)
	}
	const offset = 44 // of node_config's mark
	mark := binary.NativeEndian.Uint32(value[offset:])
	if mark == 0 {
		return 0, fmt.Errorf("the node has no mark: %x", value)
	}
	return mark, nil
}

// Listeners are the ports of the classes that Envoy listens on, sorted.
func (n *Node) Listeners() ([]uint16, error) {
	m, err := n.pinned("listeners")
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var ports []uint16
	var key uint32
	var value uint64
	it := m.Iterate()
	for it.Next(&key, &value) {
		ports = append(ports, uint16(key))
	}
	slices.Sort(ports)
	return slices.Compact(ports), it.Err()
}

// OpenPorts are the addresses that TCP sockets listen on in a namespace.
func (n *Node) OpenPorts(ns *nstest.NS) []string {
	n.t.Helper()
	var open []string
	ns.Do(func() error {
		for _, table := range []string{"tcp", "tcp6"} {
			data, err := os.ReadFile("/proc/thread-self/net/" + table)
			if err != nil {
				return err
			}
			for line := range strings.Lines(string(data)) {
				if f := strings.Fields(line); len(f) > 3 && f[3] == "0A" {
					addr, err := parseSocket(f[1])
					if err != nil {
						return err
					}
					open = append(open, addr.String())
				}
			}
		}
		return nil
	})
	return open
}

// parseSocket reads "0100007F:1F90": words in the machine's order.
func parseSocket(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for i := 0; i+4 <= len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	addr, _ := netip.AddrFromSlice(b)
	number, err := strconv.ParseUint(port, 16, 16)
	return netip.AddrPortFrom(addr, uint16(number)), err
}
