package bpftest

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// Tally is a program that counts what it sees, and gives one answer.
type Tally struct {
	*ebpf.Program
	seen *ebpf.Map
}

// What a program may answer.
const (
	Next = -1 // TCX_NEXT: programs after it run too
	Pass = 0  // TCX_PASS: none does
)

const skbIngressIfindex = 36

// NewTally loads the program. With received it counts only what was received by some
// interface, and not what was made in the namespace.
func NewTally(answer int32, received bool) (*Tally, error) {
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		return nil, fmt.Errorf("make map: %w", err)
	}
	ins := asm.Instructions{asm.LoadMem(asm.R6, asm.R1, skbIngressIfindex, asm.Word)}
	if received {
		ins = append(ins, asm.JEq.Imm(asm.R6, 0, "out"))
	}
	ins = append(ins,
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, seen.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "out"),
		asm.Mov.Imm(asm.R1, 1),
		asm.StoreXAdd(asm.R0, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, answer).WithSymbol("out"),
		asm.Return(),
	)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: ins})
	if err != nil {
		return nil, fmt.Errorf("load program: %w", err)
	}
	return &Tally{program, seen}, nil
}

// Close ends the program where it is not attached.
func (c *Tally) Close() error {
	c.seen.Close()
	return c.Program.Close()
}

// Count is how many packets it has seen.
func (c *Tally) Count() (n uint64, err error) {
	err = c.seen.Lookup(uint32(0), &n)
	return n, err
}
