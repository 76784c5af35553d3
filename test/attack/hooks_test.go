package attack

import (
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/xds/septumpb"
)

// foreign is a program of somebody else, which counts what it sees and gives one answer.
type foreign struct {
	*ebpf.Program
	seen *ebpf.Map
}

func newForeign(t *testing.T, answer int32) *foreign {
	t.Helper()
	seen, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatalf("make a map: %v", err)
	}
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, License: "GPL", Instructions: asm.Instructions{
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
	}})
	if err != nil {
		t.Fatalf("load a foreign program: %v", err)
	}
	t.Cleanup(func() { p.Close(); seen.Close() })
	return &foreign{p, seen}
}

func (f *foreign) count(t *testing.T) uint64 {
	t.Helper()
	var n uint64
	if err := f.seen.Lookup(uint32(0), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// attachTCX puts a foreign program on a pod's veth for as long as the test runs.
func (s *suite) attachTCX(t *testing.T, f *foreign, pod *node.Pod, at ebpf.AttachType, anchor link.Anchor) {
	t.Helper()
	var l link.Link
	index := s.Host.Link(pod.HostVeth()).Attrs().Index
	s.Host.Do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: f.Program, Attach: at, Anchor: anchor})
		return err
	})
	t.Cleanup(func() { l.Close() })
}

const (
	tcxNext = -1
	tcxPass = 0
)

// hooks are what others do at the interfaces that the programs are on.
func (s *suite) hooks(t *testing.T) {
	target, caged := s.Pods["target"], s.Pods["caged"]
	// judged sends what is allowed and what is denied, in both directions.
	judged := func(t *testing.T) {
		t.Helper()
		for _, from := range []string{"client", "caged"} {
			if got, err := s.ask(t.Context(), from, s.at(0, httpPort), publicRequest, net.Dialer{}); got != 200 {
				t.Errorf("allowed, from %s: %d, %v", from, got, err)
			}
			if got, err := s.ask(t.Context(), from, s.at(0, httpPort), secretRequest, net.Dialer{}); got != 403 {
				t.Errorf("denied, from %s: %d, %v", from, got, err)
			}
		}
		server, plain := openLink(t, target.NS, "eth0", false), openLink(t, s.Pods["plain"].NS, "eth0", false)
		for _, bypass := range []bool{false, true} {
			for name, at := range map[string]*port{"stranger": server, "caged": plain} {
				pod, dst := s.Pods[name], target
				if at == plain {
					dst = s.Pods["plain"]
				}
				payload := s.mark()
				out := openLink(t, pod.NS, "eth0", bypass)
				out.send(frame(s.Host.Link(pod.HostVeth()).Attrs().HardwareAddr, out.mac,
					ipv4{src: pod.Addrs[0], dst: dst.Addrs[0], protocol: unix.IPPROTO_UDP}.packet(udp(4000, openPort+1, payload))))
				if at.sees(payload, quiet) {
					t.Errorf("a datagram of %s came through", name)
				}
			}
		}
		s.target.take()
	}
	s.attack(t, result{"Hooks", "raw socket of a pod, past its own queueing discipline or not", denied, "Go"}, judged)
	s.attack(t, result{"Hooks", "foreign TCX program behind ours sees what is allowed", works, "Go"}, func(t *testing.T) {
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			f := newForeign(t, tcxPass)
			s.attachTCX(t, f, target, at, link.Tail())
			judged(t)
			if f.count(t) == 0 {
				t.Errorf("the program at %v saw nothing", at)
			}
		}
	})
	s.attack(t, result{"Hooks", "foreign TCX program before ours that lets the chain go on", denied, "Go"}, func(t *testing.T) {
		f := newForeign(t, tcxNext)
		s.attachTCX(t, f, target, ebpf.AttachTCXEgress, link.Head())
		s.attachTCX(t, newForeign(t, tcxNext), caged, ebpf.AttachTCXIngress, link.Head())
		judged(t)
		if f.count(t) == 0 {
			t.Error("the program saw nothing")
		}
	})
	s.attack(t, result{"Hooks", "foreign TCX program before ours that ends the chain, after a second", denied, "Go"}, func(t *testing.T) {
		f := newForeign(t, tcxPass)
		s.attachTCX(t, f, target, ebpf.AttachTCXEgress, link.Head())
		other := newForeign(t, tcxPass)
		s.attachTCX(t, other, caged, ebpf.AttachTCXIngress, link.Head())
		s.reordered(t, s.Host, target.HostVeth(), ebpf.AttachTCXEgress, f.Program)
		s.reordered(t, s.Host, caged.HostVeth(), ebpf.AttachTCXIngress, other.Program)
		judged(t)
		if f.count(t) == 0 {
			t.Error("the program saw nothing")
		}
	})
	s.attack(t, result{"Hooks", "foreign clsact program that lets everything pass", denied, "Go"}, func(t *testing.T) {
		f := newForeign(t, tcxPass)
		s.clsact(t, f, target)
		s.clsact(t, f, caged)
		judged(t)
		if f.count(t) == 0 {
			t.Error("the program saw nothing")
		}
	})
	s.attack(t, result{"Hooks", "detaching our programs by the system call", denied, "Go"}, func(t *testing.T) {
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			s.detach(t, target, at)
		}
		judged(t)
	})
	s.attack(t, result{"Hooks", "probe by the pod's own node, which no policy holds off", same, "Go"}, func(t *testing.T) {
		c, err := node.Dial(t.Context(), s.Host, net.Dialer{}, "tcp", s.at(0, httpPort))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, err := exchange(c, secretRequest); got != 200 {
			t.Errorf("got %d, %v", got, err)
		}
		s.target.take()
	})
	s.around(t)
	s.second(t)
	s.unreachable(t)
}

// clsact attaches a program to both sides of a veth as tc did before TCX.
func (s *suite) clsact(t *testing.T, f *foreign, pod *node.Pod) {
	t.Helper()
	index := s.Host.Link(pod.HostVeth()).Attrs().Index
	qdisc := &netlink.GenericQdisc{QdiscType: "clsact", QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
	if err := s.Host.Netlink.QdiscAdd(qdisc); err != nil {
		t.Fatalf("add clsact: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Host.Netlink.QdiscDel(qdisc); err != nil {
			t.Errorf("remove clsact: %v", err)
		}
	})
	for _, parent := range []uint32{netlink.HANDLE_MIN_INGRESS, netlink.HANDLE_MIN_EGRESS} {
		filter := &netlink.BpfFilter{Fd: f.FD(), Name: "foreign", DirectAction: true, FilterAttrs: netlink.FilterAttrs{
			LinkIndex: index, Parent: parent, Handle: 1, Protocol: unix.ETH_P_ALL, Priority: 1,
		}}
		if err := s.Host.Netlink.FilterAdd(filter); err != nil {
			t.Fatalf("add a filter: %v", err)
		}
	}
}

// detach tries to detach every program of a hook; the kernel holds those that a link holds.
func (s *suite) detach(t *testing.T, pod *node.Pod, at ebpf.AttachType) {
	t.Helper()
	index := s.Host.Link(pod.HostVeth()).Attrs().Index
	s.Host.Do(func() error {
		attached, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
		if err != nil {
			return err
		}
		if len(attached.Programs) == 0 {
			t.Errorf("no program at %v", at)
		}
		for _, p := range attached.Programs {
			program, err := ebpf.NewProgramFromID(p.ID)
			if err != nil {
				return err
			}
			defer program.Close()
			if err := link.RawDetachProgram(link.RawDetachProgramOptions{Target: index, Program: program, Attach: at}); err == nil {
				t.Errorf("the program at %v was detached", at)
			}
		}
		return nil
	})
}

// unreachable: a pod that is joined to something else than its node is reported.
func (s *suite) unreachable(t *testing.T) {
	s.attack(t, result{"Hooks", "policed pod whose interface leads to another pod, where it cannot be enforced", reported, "node"}, func(t *testing.T) {
		pod := s.AddBehind("behind", "10.244.1.20", s.Pods["plain"], policy.Labels{"k8s:app": "target"})
		defer func() {
			s.RemovePod(pod)
			s.Publish(policies()...)
		}()
		version := s.Serve(policies()...)
		s.Reported("the pod as not enforced", func(r *septumpb.NodeReport) bool {
			return r.NodeVersion == version && len(r.Problems) == 1
		})
	})
}

// second gives a policed pod another interface, as Multus does.
func (s *suite) second(t *testing.T) {
	s.attack(t, result{"Hooks", "second interface of a policed pod", denied, "Go"}, func(t *testing.T) {
		target := s.Pods["target"]
		s.Host.Veth("multus0", target.NS, "net1")
		node.AddAddr(s.Node, s.Host, "multus0", "10.88.0.1/24")
		node.AddAddr(s.Node, target.NS, "net1", "10.88.0.2/24")
		defer func() {
			if err := s.Host.Netlink.LinkDel(s.Host.Link("multus0")); err != nil {
				t.Error(err)
			}
			s.Reported("no problem", func(r *septumpb.NodeReport) bool { return len(r.Problems) == 0 })
		}()
		s.Reported("the interface as closed", func(r *septumpb.NodeReport) bool {
			return len(r.Problems) == 1 && r.Problems[0].Reason == "InterfaceClosed"
		})
		for _, port := range []string{"80", "5000"} {
			c, err := node.Dial(t.Context(), s.Host, net.Dialer{Timeout: 300 * time.Millisecond}, "tcp", net.JoinHostPort("10.88.0.2", port))
			if err == nil {
				c.Close()
				t.Errorf("port %s is open", port)
			}
		}
		for request, want := range map[string]int{publicRequest: 200, secretRequest: 403} {
			if got, err := s.ask(t.Context(), "client", s.at(0, httpPort), request, net.Dialer{}); got != want {
				t.Errorf("by the first interface: %d, %v; want %d", got, err, want)
			}
		}
		s.target.take()
	})
}

// flood fills the table of connections, which forgets the oldest.
func (s *suite) flood(t *testing.T) {
	s.attack(t, result{"Data path", "more flows than the table of connections holds", denied, "Go"}, func(t *testing.T) {
		target := s.Pods["target"]
		old, err := node.Dial(t.Context(), s.Pods["client"].NS, net.Dialer{}, "tcp", s.at(0, httpPort))
		if err != nil {
			t.Fatal(err)
		}
		defer old.Close()
		if got, err := exchange(old, publicRequest); got != 200 {
			t.Fatalf("got %d, %v", got, err)
		}
		s.target.take()
		begun := time.Now()
		for _, from := range []*attacker{s.attacker(t, "client"), s.attacker(t, "remote"), s.attacker(t, "caged")} {
			packet := ipv4{src: from.v4(), dst: target.Addrs[0], protocol: unix.IPPROTO_UDP}.packet(udp(0, openPort, nil))
			f := frame(from.gateway, from.mac, packet)
			for p := range 50000 {
				f[34], f[35] = byte(p>>8), byte(p)
				from.send(f)
			}
		}
		t.Logf("150,000 flows in %v", time.Since(begun).Round(time.Millisecond))
		if got, _ := exchange(old, secretRequest); got == 200 {
			t.Error("the old connection is not judged any more")
		}
		for name, want := range map[string]int{publicRequest: 200, secretRequest: 403} {
			if got, err := s.ask(t.Context(), "client", s.at(0, httpPort), name, net.Dialer{}); got != want {
				t.Errorf("%.11q: got %d, %v; want %d", name, got, err, want)
			}
		}
		if got, _ := s.ask(t.Context(), "stranger", s.at(0, openPort), publicRequest, net.Dialer{Timeout: 200 * time.Millisecond}); got != 0 {
			t.Errorf("a peer that may nothing got %d", got)
		}
		for _, seen := range s.target.take() {
			if seen != publicRequest {
				t.Errorf("the server got %q", seen)
			}
		}
	})
}
