package bpf

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// skbContext is the beginning of struct __sk_buff.
type skbContext struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority uint32
	IngressIfindex, Ifindex                                                               uint32
}

// lo is the interface that BPF_PROG_TEST_RUN runs programs on.
const lo = 1

// action is what became of a packet.
type action string

const (
	next     action = "next"
	drop     action = "drop"
	redirect action = "redirect"
)

func actionOf(t testing.TB, ret uint32) action {
	t.Helper()
	switch int32(ret) {
	case -1:
		return next
	case 2:
		return drop
	case 7:
		return redirect
	}
	t.Fatalf("program returned %d", int32(ret))
	return ""
}

// runner runs packets through the programs of pods' veths, without a veth.
type runner struct {
	*Datapath
	t testing.TB
	// numbers are those of what is enforced.
	numbers policy.Numbers
}

// newRunner has one interface for all pods, and a proxy.
func newRunner(t testing.TB, pods ...netip.Addr) *runner {
	r := &runner{Datapath: open(t, Config{PinPath: bpffs(t)}), t: t}
	link := PodLink{Key: "test/pod", Ifindex: lo, PodMAC: net.HardwareAddr{2, 0, 0, 0, 0, 8}, HostMAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Addrs: pods}
	if err := r.writePod(link); err != nil {
		t.Fatal(err)
	}
	r.setProxy(lo)
	r.listen("127.0.0.1:0", unix.AF_INET, class)
	r.listen("[::1]:0", unix.AF_INET6, class)
	return r
}

// listen has something listen for classes.
func (r *runner) listen(address string, family uint32, classes ...uint16) {
	r.t.Helper()
	lc := net.ListenConfig{}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	for _, class := range classes {
		if err := r.objs.Listeners.Put(family<<16|uint32(class), uint64(f.Fd())); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *runner) setProxy(ifindex uint32) {
	r.t.Helper()
	if err := r.updateNode(func(n *septumNodeConfig) { n.L7p0Ifindex = [Legs]uint32{ifindex, ifindex, ifindex, ifindex} }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *runner) apply(s State) {
	r.t.Helper()
	if err := r.Apply(s); err != nil {
		r.t.Fatal(err)
	}
}

// run returns what became of a packet, the frame that came out, and the reason of a drop.
func (r *runner) run(hook policy.Direction, data []byte, ctx skbContext) (action, []byte, string) {
	r.t.Helper()
	program := r.objs.ToPod
	if hook == policy.Egress {
		program = r.objs.FromPod
	}
	_, before, err := r.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	out := make([]byte, len(data)+64)
	opts := ebpf.RunOptions{Data: data, DataOut: out, Context: ctx}
	ret, err := program.Run(&opts)
	if err != nil {
		r.t.Fatalf("run program: %v", err)
	}
	_, after, err := r.Counters()
	if err != nil {
		r.t.Fatal(err)
	}
	reason := ""
	for word, n := range after {
		if n != before[word] {
			reason += word
		}
	}
	return actionOf(r.t, ret), opts.DataOut, reason
}

// step is one packet and what must become of it.
type step struct {
	name string
	hook policy.Direction
	data []byte
	ctx  skbContext
	want action
	// reason is that of the drop.
	reason string
	// before runs first.
	before func(*runner)
}

func (r *runner) steps(steps []step) {
	r.t.Helper()
	for i, s := range steps {
		if s.before != nil {
			s.before(r)
		}
		got, _, reason := r.run(s.hook, s.data, s.ctx)
		if got != s.want || reason != s.reason {
			r.t.Errorf("step %d %s: got %s %q, want %s %q", i, s.name, got, reason, s.want, s.reason)
		}
	}
}

func toPod(name string, f frame, want action, reason string) step {
	return step{name: "to pod: " + name, hook: policy.Ingress, data: f.bytes(), ctx: skbContext{IngressIfindex: 77}, want: want, reason: reason}
}

func fromPod(name string, f frame, want action, reason string) step {
	return step{name: "from pod: " + name, hook: policy.Egress, data: f.bytes(), ctx: skbContext{IngressIfindex: lo}, want: want, reason: reason}
}

func (s step) fromHost() step {
	s.ctx.IngressIfindex = 0
	return s
}

func (s step) after(f func(*runner)) step {
	s.before = f
	return s
}

func (e Event) String() string {
	return fmt.Sprintf("%s %v %v>%v proto=%d rule=%d class=%d id=%d %s",
		[]string{"ingress", "egress"}[e.Direction], []string{"denied", "forwarded", "redirected", "audited"}[e.Verdict],
		e.Src, e.Dst, e.Protocol, e.Rule, e.Class, e.Identity, e.Reason)
}
