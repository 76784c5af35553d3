package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A CNI that passes packets into a pod's namespace (bpf_redirect_peer) goes around the egress
// of the node's side of the veth. The pod's own interface has a program too, therefore: it
// lets through what the node's side has judged, and gives back what has come around it.

// errGone says that a pod's interface is not in its namespace any more.
var errGone = errors.New("the pod's interface is not in its namespace")

func (d *Datapath) podSidePin(ifindex int) string {
	return filepath.Join(d.config.links(), strconv.Itoa(ifindex)+"-pod")
}

func (d *Datapath) podSideHook(p PodLink) tcxHook {
	return tcxHook{pin: d.podSidePin(p.Ifindex), ifindex: p.PodIfindex, attachType: ebpf.AttachTCXIngress}
}

// attachPodSide attaches the program at the pod's own interface, or swaps it.
func (d *Datapath) attachPodSide(p PodLink) error {
	if p.NetNS == "" {
		return nil
	}
	program, err := d.copyOf("into_pod", p.Ifindex)
	if err != nil {
		return err
	}
	defer program.Close()
	h := d.podSideHook(p)
	h.program = program
	if err := p.inside(h.attach); err != nil {
		return fmt.Errorf("pod's own interface: %w", err)
	}
	d.sides[p.Ifindex] = p
	return nil
}

func (d *Datapath) detachPodSide(ifindex int) error {
	delete(d.sides, ifindex)
	return removePin(d.podSidePin(ifindex))
}

// keepPodSide sees to it that the program at the pod's own interface is there, and first. It
// says whether it was not: the pod's own root can do something about that.
func (d *Datapath) keepPodSide(ifindex int) (bool, error) {
	p, ok := d.sides[ifindex]
	if !ok {
		return false, nil
	}
	h := d.podSideHook(p)
	again := false
	err := p.inside(func() error {
		l, info, err := h.pinned()
		if err != nil {
			return err
		}
		if l != nil {
			defer l.Close()
		}
		if info != nil {
			first, err := h.isFirst()
			if first || err != nil {
				return err
			}
		}
		again = true
		if h.program, err = d.copyOf("into_pod", ifindex); err != nil {
			return err
		}
		defer h.program.Close()
		if info == nil {
			return h.attach()
		}
		return h.replace(h.program)
	})
	if errors.Is(err, fs.ErrNotExist) { // the pod is gone
		return false, nil
	}
	if err != nil {
		return again, fmt.Errorf("pod %s: its own interface: %w", p.Key, err)
	}
	return again, nil
}

// inside runs f in the pod's namespace, if the interface is there: the other side of the
// node's.
func (p PodLink) inside(f func() error) error {
	ns, err := os.Open(p.NetNS)
	if err != nil {
		return fmt.Errorf("open the pod's namespace: %w", err)
	}
	defer ns.Close()
	return inNetNS(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		l, err := h.LinkByIndex(p.PodIfindex)
		if errors.As(err, &netlink.LinkNotFoundError{}) {
			return fmt.Errorf("interface %d: %w", p.PodIfindex, errGone)
		}
		if err != nil {
			return fmt.Errorf("read interface %d: %w", p.PodIfindex, err)
		}
		if a := l.Attrs(); l.Type() != "veth" || a.ParentIndex != p.Ifindex {
			return fmt.Errorf("interface %d is another one: %w", p.PodIfindex, errGone)
		}
		return f()
	})
}
