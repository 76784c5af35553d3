package bpf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf/link"
	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// Ended is an open TCP connection that the policy in force does not let go on.
type Ended struct {
	Pod, Peer netip.AddrPort
	// Direction is [policy.Egress] where the pod is the client.
	Direction policy.Direction
	// Proxied is true where the client's connection is with the proxy, not with the server.
	Proxied bool
}

// Client and Server are the connection's two ends.
func (e Ended) Client() netip.AddrPort {
	if e.Direction == policy.Egress {
		return e.Pod
	}
	return e.Peer
}

// Server is the end that Client has connected to.
func (e Ended) Server() netip.AddrPort {
	if e.Direction == policy.Egress {
		return e.Peer
	}
	return e.Pod
}

// Sweep judges every open TCP connection by what [Datapath.Apply] has written, and returns
// those that may not go on. From now on each of their packets is answered with a reset, and
// one reset of either side passes: who is to be told at once, though it waits and sends
// nothing, has its socket destroyed.
func (d *Datapath) Sweep() ([]Ended, error) {
	it, err := link.AttachIter(link.IterOptions{Program: d.objs.Sweep, Map: d.objs.Conns})
	if err != nil {
		return nil, fmt.Errorf("attach to the connections: %w", err)
	}
	defer it.Close()
	r, err := it.Open()
	if err != nil {
		return nil, fmt.Errorf("open the connections: %w", err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read the connections: %w", err)
	}
	found := make([]septumEnded, len(data)/int(unsafe.Sizeof(septumEnded{})))
	if err := binary.Read(bytes.NewReader(data), binary.NativeEndian, found); err != nil {
		return nil, fmt.Errorf("read the connections: %w", err)
	}
	out := make([]Ended, 0, len(found))
	for _, f := range found {
		out = append(out, Ended{
			Pod: at(f.Key.Pod, f.Key.PodPort), Peer: at(f.Key.Peer, f.Key.PeerPort),
			Direction: policy.Direction(f.Direction), Proxied: f.Flags&septumConnFlagsCONN_DOWN != 0,
		})
	}
	return out, nil
}

// Proxied says whether a pod's connection is one with the proxy.
func (d *Datapath) Proxied(pod, peer netip.AddrPort) bool {
	k := septumConnKey{
		Pod: keyOfAddr(pod.Addr()), PodPort: hostOrder(pod.Port()),
		Peer: keyOfAddr(peer.Addr()), PeerPort: hostOrder(peer.Port()), Protocol: unix.IPPROTO_TCP,
	}
	var c septumConn
	return d.objs.Conns.Lookup(k, &c) == nil && c.Flags&(septumConnFlagsCONN_DOWN|septumConnFlagsCONN_UP) != 0
}

func at(addr septumAddr, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(addrOfKey(addr), hostOrder(port))
}
