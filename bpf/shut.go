package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// PodInterface is an interface in a pod's namespace on which no policy can be enforced.
type PodInterface struct {
	// Key is "namespace/name" of the pod, for errors.
	Key string
	// NetNS is the namespace's file, and Inode its number.
	NetNS string
	Inode uint64
	// Ifindex is the interface's in it.
	Ifindex int
}

// Shut lets nothing in or out by these interfaces, as far as the pod's own kernel has a hand in
// it: a packet socket of the pod still sees frames, and can send some. With others, every other
// interface that was shut is opened.
func (d *Datapath) Shut(interfaces []PodInterface, others bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	wanted := map[string]bool{}
	var errs []error
	for _, i := range interfaces {
		hooks := d.shutHooks(i)
		for _, h := range hooks {
			wanted[filepath.Base(h.pin)] = true
		}
		err := i.inside(func() error { return errors.Join(d.shut(hooks[0]), d.shut(hooks[1])) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // the pod is gone
			errs = append(errs, fmt.Errorf("shut interface %d of pod %s: %w", i.Ifindex, i.Key, err))
		}
	}
	if !others {
		return errors.Join(errs...)
	}
	entries, err := os.ReadDir(d.config.shut())
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("list shut interfaces: %w", err))...)
	}
	for _, e := range entries {
		if !wanted[e.Name()] {
			errs = append(errs, removePin(filepath.Join(d.config.shut(), e.Name())))
			delete(d.isShut, e.Name())
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) shutHooks(i PodInterface) [2]tcxHook {
	pin := func(name string) string {
		return filepath.Join(d.config.shut(), fmt.Sprintf("%d-%d-%s", i.Inode, i.Ifindex, name))
	}
	return [2]tcxHook{
		{pin: pin("ingress"), ifindex: i.Ifindex, program: d.objs.ShutIn, attachType: ebpf.AttachTCXIngress},
		{pin: pin("egress"), ifindex: i.Ifindex, program: d.objs.ShutOut, attachType: ebpf.AttachTCXEgress},
	}
}

// shut attaches a program once, and keeps it first.
func (d *Datapath) shut(h tcxHook) error {
	name := filepath.Base(h.pin)
	if !d.isShut[name] {
		if err := h.attach(); err != nil {
			return err
		}
		d.isShut[name] = true
		return nil
	}
	_, err := d.keep(h)
	return err
}

// inside runs f in the namespace, if it is still the same and has the interface.
func (i PodInterface) inside(f func() error) error {
	ns, err := os.Open(i.NetNS)
	if err != nil {
		return fmt.Errorf("open the pod's namespace: %w", err)
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns.Fd()), &st); err != nil {
		return fmt.Errorf("stat the pod's namespace: %w", err)
	}
	if st.Ino != i.Inode {
		return fmt.Errorf("%s is another namespace: %w", i.NetNS, fs.ErrNotExist)
	}
	return inNetNS(ns, func() error {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open netlink: %w", err)
		}
		defer h.Close()
		if _, err := h.LinkByIndex(i.Ifindex); errors.As(err, &netlink.LinkNotFoundError{}) {
			return nil // it is gone
		}
		return f()
	})
}
