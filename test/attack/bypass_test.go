package attack

import (
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/bpf/bpftest"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/test/attack/node"
)

// goAround has the node's network pass packets straight into the pods (bpf_redirect_peer),
// as Cilium and Calico do, for as long as the test runs: past the egress of the node's side.
func (s *suite) goAround(t *testing.T) {
	t.Helper()
	cni, err := bpftest.NewBypass()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cni.Close() })
	for _, p := range s.Pods {
		host := s.Host.Link(p.HostVeth()).Attrs()
		if p.Node == node.Name {
			mac := p.Link("eth0").Attrs().HardwareAddr
			for _, a := range p.Addrs {
				if err := cni.Add(a, host.Index, mac, host.HardwareAddr); err != nil {
					t.Fatal(err)
				}
			}
		}
		s.attachAt(t, cni.Program, s.Host, host.Index, ebpf.AttachTCXIngress, link.Tail())
	}
}

// attachAt attaches a program in a namespace for as long as the test runs.
func (s *suite) attachAt(t *testing.T, p *ebpf.Program, ns *nstest.NS, index int, at ebpf.AttachType, anchor link.Anchor) {
	t.Helper()
	var l link.Link
	ns.Do(func() (err error) {
		l, err = link.AttachTCX(link.TCXOptions{Interface: index, Program: p, Attach: at, Anchor: anchor})
		return err
	})
	t.Cleanup(func() { l.Close() })
}

// reordered waits until a program is not the first at a hook any more.
func (s *suite) reordered(t *testing.T, ns *nstest.NS, name string, at ebpf.AttachType, p *ebpf.Program) {
	t.Helper()
	info, err := p.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	index := ns.Link(name).Attrs().Index
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		first := false
		ns.Do(func() error {
			attached, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: at})
			first = err == nil && len(attached.Programs) > 1 && attached.Programs[0].ID == id
			return err
		})
		if !first {
			return
		}
	}
	t.Fatalf("the program is still the first at %v", at)
}

// around attacks through a network that goes around the node's side of pods' interfaces.
func (s *suite) around(t *testing.T) {
	target := s.Pods["target"]
	const network = "network that goes around the node's side (bpf_redirect_peer): "
	for _, from := range []string{"client", "caged", "remote"} {
		for request, want := range map[string]int{publicRequest: 200, secretRequest: 403} {
			expected, name := same, "allowed request, from "+from
			if want != 200 {
				expected, name = denied, "denied request, from "+from
			}
			s.attack(t, result{"Hooks", network + name, expected, "Go"}, func(t *testing.T) {
				s.goAround(t)
				for family := range 2 {
					if got, err := s.ask(t.Context(), from, s.at(family, httpPort), request, net.Dialer{}); got != want {
						t.Errorf("got %d, %v; want %d", got, err, want)
					}
				}
			})
		}
	}
	s.attack(t, result{"Hooks", network + "from a peer that may nothing", denied, "Go"}, func(t *testing.T) {
		s.goAround(t)
		for _, port := range []int{httpPort, openPort} {
			if got, _ := s.ask(t.Context(), "stranger", s.at(0, port), publicRequest, net.Dialer{Timeout: 200 * time.Millisecond}); got != 0 {
				t.Errorf("port %d: got %d", port, got)
			}
		}
	})
	s.attack(t, result{"Hooks", network + "foreign program before ours in the pod, after a second", denied, "Go"}, func(t *testing.T) {
		s.goAround(t)
		f := newForeign(t, tcxPass)
		s.attachAt(t, f.Program, target.NS, target.Link("eth0").Attrs().Index, ebpf.AttachTCXIngress, link.Head())
		s.reordered(t, target.NS, "eth0", ebpf.AttachTCXIngress, f.Program)
		if got, _ := s.ask(t.Context(), "stranger", s.at(0, httpPort), publicRequest, net.Dialer{Timeout: 200 * time.Millisecond}); got != 0 {
			t.Errorf("got %d", got)
		}
		if got, err := s.ask(t.Context(), "client", s.at(0, httpPort), secretRequest, net.Dialer{}); got != 403 {
			t.Errorf("got %d, %v", got, err)
		}
	})
	s.attack(t, result{"Hooks", "frame of a policed pod to itself in a peer's name, to open the way back", denied, "Go"}, func(t *testing.T) {
		// The caged pod may not send to plain. A frame as its own program gives them back,
		// but for the hash, must not pass for plain's beginning.
		caged, plain := s.attacker(t, "caged"), s.Pods["plain"]
		at := openLink(t, plain.NS, "eth0", false)
		for _, mac := range []net.HardwareAddr{caged.mac, caged.gateway} {
			caged.send(frame(mac, caged.gateway, ipv4{src: plain.Addrs[0], dst: caged.v4(), protocol: unix.IPPROTO_UDP}.packet(udp(7000, 4000, s.mark()))))
		}
		payload := s.mark()
		caged.packet(ipv4{src: caged.v4(), dst: plain.Addrs[0], protocol: unix.IPPROTO_UDP}.packet(udp(4000, 7000, payload)))
		if at.sees(payload, quiet) {
			t.Error("it came")
		}
	})
	s.target.take()
}
