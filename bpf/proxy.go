package bpf

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/septum-dev/septum/policy"
	"golang.org/x/sys/unix"
)

// Legs is how many legs proxied connections have; each has a veth of its own.
const Legs = 4

// The legs towards clients, numbered as enum leg.
const (
	legIngressDown = 1
	legEgressDown  = 3
)

// ProxyLink is the proxy's namespace and the veths that lead there, in the order of the legs
// (down and up on ingress, down and up on egress).
type ProxyLink struct {
	// HostIfindexes are the interfaces in the node's namespace, ProxyIfindexes those in the
	// proxy's. All of a side have one hardware address.
	HostIfindexes, ProxyIfindexes [Legs]int
	HostMAC, ProxyMAC             net.HardwareAddr
	NetNS                         *os.File
	// Cookie is the namespace's; 0 asks the kernel.
	Cookie uint64
}

func (p ProxyLink) validate() error {
	if slices.Min(p.HostIfindexes[:]) <= 0 || slices.Min(p.ProxyIfindexes[:]) <= 0 || len(p.HostMAC) != 6 || len(p.ProxyMAC) != 6 || p.NetNS == nil {
		return fmt.Errorf("proxy link is incomplete: %+v", p)
	}
	return nil
}

// AttachProxy leads redirected connections into the proxy's namespace. It has to be called
// before the proxy opens its listeners: only those that are opened later are found. For a
// namespace that is attached already, it swaps the programs.
func (d *Datapath) AttachProxy(p ProxyLink) error {
	if err := p.validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Cookie == 0 {
		err := inNetNS(p.NetNS, func() (err error) {
			p.Cookie, err = netnsCookie()
			return err
		})
		if err != nil {
			return fmt.Errorf("read cookie of the proxy's namespace: %w", err)
		}
	}
	if err := d.forgetOtherProxy(p); err != nil {
		return err
	}
	host, proxy := d.proxyHooks(p)
	if err := attachAll(host); err != nil {
		return fmt.Errorf("proxy's host side: %w", err)
	}
	if err := inNetNS(p.NetNS, func() error { return attachAll(proxy) }); err != nil {
		return fmt.Errorf("proxy's side: %w", err)
	}
	if err := d.attachSteer(p.NetNS); err != nil {
		return fmt.Errorf("attach sk_lookup: %w", err)
	}
	err := d.updateNode(func(n *septumNodeConfig) {
		n.NetnsCookie = p.Cookie
		for leg := range Legs {
			n.L7p0Ifindex[leg], n.L7p1Ifindex[leg] = uint32(p.HostIfindexes[leg]), uint32(p.ProxyIfindexes[leg])
		}
		n.L7p0Mac, n.L7p1Mac = [6]uint8(p.HostMAC), [6]uint8(p.ProxyMAC)
	})
	if err != nil {
		return err
	}
	if err := d.attachSocket(); err != nil {
		return fmt.Errorf("attach sock_ops to %s: %w", d.config.CgroupRoot, err)
	}
	d.proxyPins = []string{d.steerPin(), d.socketPin()}
	for _, h := range slices.Concat(host, proxy) {
		d.proxyPins = append(d.proxyPins, h.pin)
	}
	return nil
}

// SetProxySilent says whether a proxy is there and does not answer: classes of it that fail
// open are then not redirected to it. All others are, and wait.
func (d *Datapath) SetProxySilent(b policy.Backend, silent bool) error {
	flag := septumNodeFlagsNODE_ENVOY_SILENT
	if b == policy.BackendOwn {
		flag = septumNodeFlagsNODE_OWN_SILENT
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.updateNode(func(n *septumNodeConfig) {
		n.Flags &^= flag
		if silent {
			n.Flags |= flag
		}
	})
}

// DetachProxy forgets the proxy: what is redirected is dropped.
func (d *Datapath) DetachProxy() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.detachProxy()
}

func (d *Datapath) detachProxy() error {
	err := d.updateNode(func(n *septumNodeConfig) {
		*n = septumNodeConfig{Generation: n.Generation, Mark: n.Mark, PassKey: n.PassKey, ClientLimit: n.ClientLimit, ClassLimit: n.ClassLimit}
	})
	d.proxyPins = nil
	return errors.Join(err, removeFiles(d.config.proxy()), d.forgetShares())
}

// forgetOtherProxy removes the links into another namespace, or into one that is not known any
// more: by their interface's number alone they could not be told from those into this one.
func (d *Datapath) forgetOtherProxy(p ProxyLink) error {
	var n septumNodeConfig
	if err := d.objs.Config.Lookup(uint32(0), &n); err != nil {
		return fmt.Errorf("read node configuration: %w", err)
	}
	if n.NetnsCookie == p.Cookie {
		return nil
	}
	return d.detachProxy()
}

// proxyHooks are those on the node's sides of the veths, and those in the proxy's namespace.
func (d *Datapath) proxyHooks(p ProxyLink) (host, proxy []tcxHook) {
	pin := func(name string, leg int) string {
		return filepath.Join(d.config.proxy(), fmt.Sprintf("%s-%d", name, leg+1))
	}
	for leg := range Legs {
		host = append(host,
			tcxHook{pin: pin("host-ingress", leg), ifindex: p.HostIfindexes[leg], program: d.objs.ProxyHost, attachType: ebpf.AttachTCXIngress})
		proxy = append(proxy,
			tcxHook{pin: pin("proxy-egress", leg), ifindex: p.ProxyIfindexes[leg], program: d.objs.ProxyOut, attachType: ebpf.AttachTCXEgress})
	}
	for _, leg := range []int{legIngressDown, legEgressDown} { // where clients' datagrams come
		proxy = append(proxy,
			tcxHook{pin: pin("proxy-ingress", leg-1), ifindex: p.ProxyIfindexes[leg-1], program: d.objs.ProxyIn, attachType: ebpf.AttachTCXIngress})
	}
	return host, proxy
}

func attachAll(hooks []tcxHook) error {
	for _, h := range hooks {
		if err := h.attach(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Datapath) steerPin() string  { return filepath.Join(d.config.proxy(), "sk-lookup") }
func (d *Datapath) socketPin() string { return filepath.Join(d.config.proxy(), "sock-ops") }

func (d *Datapath) attachSteer(ns *os.File) error {
	pin := d.steerPin()
	if updated, err := updatePinned(pin, d.objs.Steer); updated || err != nil {
		return err
	}
	l, err := link.AttachNetNs(int(ns.Fd()), d.objs.Steer)
	if err != nil {
		return err
	}
	return pinLink(l, pin)
}

func (d *Datapath) attachSocket() error {
	pin := d.socketPin()
	if updated, err := updatePinned(pin, d.objs.OnSocket); updated || err != nil {
		return err
	}
	l, err := link.AttachCgroup(link.CgroupOptions{Path: d.config.CgroupRoot, Attach: ebpf.AttachCGroupSockOps, Program: d.objs.OnSocket})
	if err != nil {
		return err
	}
	return pinLink(l, pin)
}

// updatePinned swaps the program of a pinned link; false says that there is none, or none
// that is alive.
func updatePinned(pin string, program *ebpf.Program) (bool, error) {
	l, err := openPinned(pin)
	if l == nil {
		return false, err
	}
	defer l.Close()
	err = l.Update(program)
	if errors.Is(err, unix.ENOLINK) {
		return false, removePin(pin)
	}
	if err != nil {
		return false, fmt.Errorf("swap program: %w", err)
	}
	return true, nil
}

// Listeners returns the ports that the proxy listens on in every family that it is to listen
// in, sorted. Entries that redirect to a port should be applied when it is among them.
func (d *Datapath) Listeners() ([]uint16, error) {
	families := map[uint16]int{}
	var k uint32
	var v uint64
	it := d.objs.Listeners.Iterate()
	for it.Next(&k, &v) {
		families[uint16(k)]++
	}
	if err := it.Err(); err != nil {
		return nil, fmt.Errorf("read listeners: %w", err)
	}
	want := 2
	if d.config.NoIPv6 {
		want = 1
	}
	var out []uint16
	for port, n := range families {
		if n >= want {
			out = append(out, port)
		}
	}
	slices.Sort(out)
	return out, nil
}

// inNetNS runs f with its thread in a namespace.
func inNetNS(ns *os.File, f func() error) error {
	done := make(chan error, 1)
	go func() {
		// A thread that cannot go back ends with its goroutine.
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			done <- fmt.Errorf("open own namespace: %w", err)
			return
		}
		defer own.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter namespace: %w", err)
			return
		}
		err = f()
		if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func netnsCookie() (uint64, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
}
