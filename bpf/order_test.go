package bpf

import (
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

// A program of others before ours, which ends the chain, opens everything until ours are
// first again; the connections that there are go on.
func TestPutFirst(t *testing.T) {
	l := newLab(t, routed, true, true)
	old, _, err := l.pods["a"].dial(net.Dialer{}, l.at(servedPort))
	must(t, err)
	defer old.Close()
	l.inNode(func() error {
		moved, err := l.PutFirst()
		if len(moved) != 0 {
			t.Errorf("moved %v, where nobody was before", moved)
		}
		return err
	})
	ifindex := l.pods["b"].link.Ifindex
	l.withoutPodSide("b") // it would judge what comes past
	foreign, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	must(t, err)
	defer foreign.Close()
	for _, h := range l.podHooks(ifindex) {
		l.inNode(func() error {
			other, err := link.AttachTCX(link.TCXOptions{Interface: h.ifindex, Program: foreign, Attach: h.attachType, Anchor: link.Head()})
			if err == nil {
				t.Cleanup(func() { other.Close() })
			}
			return err
		})
	}
	denied := net.Dialer{Timeout: 300 * time.Millisecond}
	if err := l.pods["c"].visit(denied, l.at(servedPort)); err != nil {
		t.Fatalf("the program before ours does not open anything: %v", err)
	}
	l.inNode(func() error {
		moved, err := l.PutFirst()
		if len(moved) != 1 || moved[0] != ifindex {
			t.Errorf("moved %v, want %d", moved, ifindex)
		}
		return err
	})
	if err := l.pods["c"].visit(denied, l.at(servedPort)); !isTimeout(err) {
		t.Errorf("a peer that is denied: %v", err)
	}
	must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
	must(t, echo(old, "still there"))
	for _, h := range l.podHooks(ifindex) {
		l.inNode(func() error {
			result, err := link.QueryPrograms(link.QueryOptions{Target: h.ifindex, Attach: h.attachType})
			if err == nil && len(result.Programs) != 2 {
				t.Errorf("%d programs at %v, want ours and the other", len(result.Programs), h.attachType)
			}
			return err
		})
	}
	// The moved programs are swapped as any, and go with their pins.
	l.attach("b")
	l.inNode(func() error { return l.DetachPod(ifindex) })
	must(t, l.pods["c"].visit(net.Dialer{}, l.at(servedPort))) // a link ends some time after its pin
}
