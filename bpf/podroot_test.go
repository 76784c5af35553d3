package bpf

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf/bpftest"
)

// What a pod's root can do to the program at its own interface, where the network goes around
// the node's side: nothing that opens it for longer than the enforcer takes to look.
func TestPodsRoot(t *testing.T) {
	l := newLab(t, routed, true, false)
	l.bypass()
	b := l.pods["b"]
	denied := func(when string) {
		t.Helper()
		if err := l.pods["c"].visit(net.Dialer{Timeout: 300 * time.Millisecond}, l.at(servedPort)); !isTimeout(err) {
			t.Errorf("%s: a peer that is denied: %v", when, err)
		}
		if err := l.pods["a"].visit(net.Dialer{Timeout: 10 * time.Second}, l.at(servedPort)); err != nil {
			t.Errorf("%s: a peer that is allowed: %v", when, err)
		}
	}
	keep := func(want bool) {
		t.Helper()
		l.inNode(func() error {
			moved, err := l.PutFirst()
			if (len(moved) == 1) != want {
				t.Errorf("moved %v, %v", moved, err)
			}
			return err
		})
	}
	denied("at first")
	keep(false)

	t.Run("detach by the system call", func(t *testing.T) {
		b.do(func() error {
			attached, err := link.QueryPrograms(link.QueryOptions{Target: b.link.PodIfindex, Attach: ebpf.AttachTCXIngress})
			if err != nil || len(attached.Programs) != 1 {
				t.Errorf("programs: %v, %v", attached, err)
				return err
			}
			program, err := ebpf.NewProgramFromID(attached.Programs[0].ID)
			if err != nil {
				return err
			}
			defer program.Close()
			if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: b.link.PodIfindex, Program: program, Attach: ebpf.AttachTCXIngress}); err == nil {
				t.Error("the program was detached")
			}
			return nil
		})
		denied("after it")
	})
	t.Run("clsact", func(t *testing.T) {
		qdisc := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: b.link.PodIfindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}}
		must(t, b.QdiscAdd(qdisc))
		tally, err := bpftest.NewTally(bpftest.Pass, false)
		must(t, err)
		defer tally.Close()
		must(t, b.FilterAdd(&netlink.BpfFilter{Fd: tally.FD(), Name: "other", DirectAction: true, FilterAttrs: netlink.FilterAttrs{
			LinkIndex: b.link.PodIfindex, Parent: netlink.HANDLE_MIN_INGRESS, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
		}}))
		denied("with it")
		must(t, b.QdiscDel(qdisc))
		denied("without it")
	})
	t.Run("program before ours", func(t *testing.T) {
		tally, err := bpftest.NewTally(bpftest.Pass, false)
		must(t, err)
		defer tally.Close()
		b.do(func() error {
			other, err := link.AttachTCX(link.TCXOptions{Interface: b.link.PodIfindex, Program: tally.Program, Attach: ebpf.AttachTCXIngress, Anchor: link.Head()})
			if err == nil {
				t.Cleanup(func() { other.Close() })
			}
			return err
		})
		must(t, l.pods["c"].visit(net.Dialer{}, l.at(servedPort))) // it opens everything
		keep(true)
		denied("after it")
		keep(false)
	})
	t.Run("another name", func(t *testing.T) {
		eth0 := b.namespace.link("eth0")
		must(t, b.LinkSetName(eth0, "other0"))
		denied("with it")
		keep(false)
		must(t, b.LinkSetName(eth0, "eth0"))
	})
	t.Run("another namespace and back", func(t *testing.T) {
		nested := newNamespace(t, "nested")
		eth0 := b.namespace.link("eth0")
		must(t, b.LinkSetNsFd(eth0, int(nested.Fd())))
		l.inNode(func() error {
			_, err := l.PutFirst()
			if !errors.Is(err, errGone) {
				t.Errorf("while it is away: %v", err)
			}
			return nil
		})
		p := *b
		p.namespace = nested
		nested.up("eth0")
		nested.addr("eth0", b.ip4.String()+"/32")
		nested.route("eth0", "10.244.7.1/32", "", 0, 0)
		nested.route("eth0", "0.0.0.0/0", "10.244.7.1", 0, 0)
		p.serve(servedPort)
		denied("while it is away")
		must(t, nested.LinkSetNsFd(nested.link("eth0"), int(b.Fd())))
		b.up("eth0")
		b.addr("eth0", b.ip4.String()+"/32")
		b.route("eth0", "10.244.7.1/32", "", 0, 0)
		b.route("eth0", "0.0.0.0/0", "10.244.7.1", 0, 0)
		denied("when it is back")
		keep(false)
	})
}
