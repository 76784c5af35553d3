// Package bpftest has the programs of others that tests put beside ours. It needs root.
package bpftest

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Bypass is the program of a CNI that passes packets from where they come in straight into
// the pods that they are for (bpf_redirect_peer), as Cilium and Calico do it: past the egress
// of the node's side of the pod's veth. It is for the ingress of pods' interfaces and others.
type Bypass struct {
	*ebpf.Program
	pods *ebpf.Map
}

// way is how a pod is reached: the node's interface, and the frame's addresses.
type way struct {
	Ifindex uint32
	Dst     [6]byte
	Src     [6]byte
}

// offsets in an Ethernet frame and in struct __sk_buff.
const (
	skbProtocol = 16
	ipv4Dst     = 14 + 16
	ipv6Dst     = 14 + 24
)

// NewBypass loads the program, for no pods yet.
func NewBypass() (*Bypass, error) {
	pods, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Hash, KeySize: 16, ValueSize: 16, MaxEntries: 64})
	if err != nil {
		return nil, fmt.Errorf("make map: %w", err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: bypass(pods.FD())})
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	return &Bypass{program, pods}, nil
}

// Close ends the program where it is not attached.
func (b *Bypass) Close() error {
	b.pods.Close()
	return b.Program.Close()
}

// Add makes a pod's address known: the node's interface that leads to it, the pod's hardware
// address and the one that the pod is to see.
func (b *Bypass) Add(addr netip.Addr, ifindex int, pod, from net.HardwareAddr) error {
	var key [16]byte
	copy(key[:], addr.AsSlice())
	return b.pods.Put(key, way{uint32(ifindex), [6]byte(pod), [6]byte(from)})
}

func bypass(pods int) asm.Instructions {
	load := func(offset, size int32) asm.Instructions {
		return asm.Instructions{
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Imm(asm.R2, offset),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -16),
			asm.Mov.Imm(asm.R4, size),
			asm.FnSkbLoadBytes.Call(),
			asm.JNE.Imm(asm.R0, 0, "next"),
		}
	}
	out := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.Mov.Imm(asm.R1, 0),
		asm.StoreMem(asm.RFP, -16, asm.R1, asm.DWord),
		asm.StoreMem(asm.RFP, -8, asm.R1, asm.DWord),
		asm.LoadMem(asm.R7, asm.R6, skbProtocol, asm.Word),
		asm.JEq.Imm(asm.R7, swap(unix.ETH_P_IP), "ipv4"),
		asm.JNE.Imm(asm.R7, swap(unix.ETH_P_IPV6), "next"),
	}
	out = append(out, load(ipv6Dst, 16)...)
	out = append(out, asm.Ja.Label("find"))
	v4 := load(ipv4Dst, 4)
	v4[0] = v4[0].WithSymbol("ipv4")
	out = append(out, v4...)
	return append(out,
		asm.LoadMapPtr(asm.R1, pods).WithSymbol("find"),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -16),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "next"),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Add.Imm(asm.R3, 4),
		asm.Mov.Imm(asm.R4, 12),
		asm.Mov.Imm(asm.R5, 0),
		asm.FnSkbStoreBytes.Call(),
		asm.LoadMem(asm.R1, asm.R8, 0, asm.Word),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirectPeer.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("next"),
		asm.Return(),
	)
}

// swap is a number in the network's order, as a little-endian machine reads it.
func swap(ethertype int32) int32 { return ethertype&0xff<<8 | ethertype>>8 }
