package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// PodLink is a pod's interface, seen from the node's namespace.
type PodLink struct {
	// Key is "namespace/name", for errors.
	Key string
	// Ifindex is the host side's.
	Ifindex int
	PodMAC  net.HardwareAddr
	// HostMAC is what the pod sends to where nothing else has been seen: the host side's
	// own address, or the bridge's.
	HostMAC net.HardwareAddr
	Addrs   []netip.Addr
	// NetNS is the file of the pod's namespace, and PodIfindex the interface in it, which gets
	// a program too. Without it, what a CNI passes around the node's side is not enforced.
	NetNS      string
	PodIfindex int
}

func (p PodLink) validate() error {
	switch {
	case p.Ifindex <= 0:
		return fmt.Errorf("pod %s: interface index %d", p.Key, p.Ifindex)
	case len(p.PodMAC) != 6 || len(p.HostMAC) != 6:
		return fmt.Errorf("pod %s: hardware addresses %q and %q", p.Key, p.PodMAC, p.HostMAC)
	case len(p.Addrs) == 0:
		return fmt.Errorf("pod %s: no addresses", p.Key)
	}
	return nil
}

// AttachPod enforces policy on a pod, and swaps the programs where they are attached already.
// From here on the pod is closed until [Datapath.Apply] brings its endpoint.
func (d *Datapath) AttachPod(p PodLink) error {
	if err := p.validate(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.arm(uint32(p.Ifindex)); err != nil {
		return fmt.Errorf("pod %s: %w", p.Key, err)
	}
	for _, h := range d.podHooks(p.Ifindex) {
		if err := h.attach(); err != nil {
			return fmt.Errorf("pod %s: %w", p.Key, err)
		}
	}
	if err := d.attachPodSide(p); err != nil {
		return fmt.Errorf("pod %s: %w", p.Key, err)
	}
	if err := d.writePod(p); err != nil {
		return fmt.Errorf("pod %s: %w", p.Key, err)
	}
	d.ours[p.Ifindex] = p
	return nil
}

// arm has the programs of an interface that has none let everything pass until the pod is
// written. Attaching takes the kernel milliseconds for each direction; a connection that
// began between the two would be known to one of them alone.
func (d *Datapath) arm(ifindex uint32) error {
	err := d.objs.Links.Update(ifindex, septumAddr{}, ebpf.UpdateNoExist)
	if err != nil && !errors.Is(err, ebpf.ErrKeyExist) {
		return fmt.Errorf("write pod interface: %w", err)
	}
	return nil
}

func (d *Datapath) writePod(p PodLink) error {
	ifindex := uint32(p.Ifindex)
	v, keys := p.kernel()
	for _, k := range keys {
		if err := d.objs.Pods.Put(k, v); err != nil {
			return fmt.Errorf("write pod address: %w", err)
		}
	}
	if err := d.objs.Links.Put(ifindex, keys[0]); err != nil {
		return fmt.Errorf("write pod interface: %w", err)
	}
	return d.deletePodAddrs(ifindex, keys)
}

// kernel is what the maps hold of a pod, and by which addresses.
func (p PodLink) kernel() (septumPod, []septumAddr) {
	var keys []septumAddr
	for _, a := range p.Addrs {
		keys = append(keys, keyOfAddr(a.Unmap().WithZone("")))
	}
	return septumPod{Ifindex: uint32(p.Ifindex), Mac: [6]uint8(p.PodMAC), HostMac: [6]uint8(p.HostMAC)}, keys
}

func (d *Datapath) deletePodAddrs(ifindex uint32, keep []septumAddr) error {
	pods, err := readMap[septumAddr, septumPod](d.objs.Pods)
	if err != nil {
		return fmt.Errorf("read pod addresses: %w", err)
	}
	for k, v := range pods {
		if v.Ifindex != ifindex || slices.Contains(keep, k) {
			continue
		}
		if err := d.objs.Pods.Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete pod address: %w", err)
		}
	}
	return nil
}

// DetachPod ends enforcement on an interface. It is no error if there was none, or if the
// interface is gone.
func (d *Datapath) DetachPod(ifindex int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.ours, ifindex)
	// What the pod's side gives back needs the node's side.
	if err := d.detachPodSide(ifindex); err != nil {
		return err
	}
	for _, h := range d.podHooks(ifindex) {
		if err := h.detach(); err != nil {
			return err
		}
	}
	if err := d.objs.Links.Delete(uint32(ifindex)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete pod interface: %w", err)
	}
	return d.deletePodAddrs(uint32(ifindex), nil)
}

// Attached returns the interfaces with programs, sorted; also those that are gone meanwhile,
// which are to be detached.
func (d *Datapath) Attached() ([]int, error) {
	entries, err := os.ReadDir(d.config.links())
	if err != nil {
		return nil, fmt.Errorf("list pinned links: %w", err)
	}
	var out []int
	for _, e := range entries {
		name, _, _ := strings.Cut(e.Name(), "-")
		ifindex, err := strconv.Atoi(name)
		if err != nil {
			return nil, fmt.Errorf("pinned link %q is not named after an interface", e.Name())
		}
		out = append(out, ifindex)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (d *Datapath) podHooks(ifindex int) []tcxHook {
	pin := func(name string) string {
		return filepath.Join(d.config.links(), strconv.Itoa(ifindex)+"-"+name)
	}
	return []tcxHook{
		{pin: pin("ingress"), ifindex: ifindex, program: d.objs.FromPod, attachType: ebpf.AttachTCXIngress},
		{pin: pin("egress"), ifindex: ifindex, program: d.objs.ToPod, attachType: ebpf.AttachTCXEgress},
	}
}

// tcxHook is one program at one interface, and the pin of its link.
type tcxHook struct {
	pin        string
	ifindex    int
	program    *ebpf.Program
	attachType ebpf.AttachType
}

// attach swaps the program of a live link, and makes a new one otherwise. The program runs
// before those of others.
func (h tcxHook) attach() error {
	if updated, err := h.update(); updated || err != nil {
		return err
	}
	l, err := link.AttachTCX(link.TCXOptions{Interface: h.ifindex, Program: h.program, Attach: h.attachType, Anchor: link.Head()})
	if err != nil {
		return fmt.Errorf("attach %v to interface %d: %w", h.attachType, h.ifindex, err)
	}
	return pinLink(l, h.pin)
}

func (h tcxHook) update() (bool, error) {
	l, info, err := h.pinned()
	if l == nil {
		return false, err
	}
	defer l.Close()
	if info != nil {
		if err := l.Update(h.program); err != nil {
			return false, fmt.Errorf("swap program of interface %d: %w", h.ifindex, err)
		}
		return true, nil
	}
	// The interface is gone, and its number has come again.
	return false, removePin(h.pin)
}

// openPinned opens a pinned link; nil without an error says that there is none.
func openPinned(pin string) (link.Link, error) {
	l, err := link.LoadPinnedLink(pin, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open pinned link: %w", err)
	}
	return l, nil
}

// pinned opens the hook's pinned link, which is nil if there is none. The info is nil if the
// link's interface is gone.
func (h tcxHook) pinned() (l link.Link, info *link.Info, err error) {
	if l, err = openPinned(h.pin); l == nil {
		return nil, nil, err
	}
	if info, err = l.Info(); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read pinned link: %w", err), l.Close())
	}
	if tcx := info.TCX(); tcx == nil || int(tcx.Ifindex) != h.ifindex {
		return l, nil, nil
	}
	return l, info, nil
}

func (h tcxHook) detach() error { return removePin(h.pin) }

func pinLink(l link.Link, pin string) error {
	if err := l.Pin(pin); err != nil {
		return errors.Join(fmt.Errorf("pin link: %w", err), l.Close())
	}
	return l.Close()
}

func removePin(pin string) error {
	if err := os.Remove(pin); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("unpin link: %w", err)
	}
	return nil
}
