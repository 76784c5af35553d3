package bpf

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Guard keeps what is behind these interfaces of the node, and no others, from sending with
// other pods' addresses; which are whose is what [Datapath.SetOwners] says. It is for pods that
// no policy selects: nothing else of what they send is touched.
func (d *Datapath) Guard(interfaces []int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	entries, err := os.ReadDir(d.config.guards())
	if err != nil {
		return fmt.Errorf("list guards: %w", err)
	}
	wanted := map[string]bool{}
	var errs []error
	for _, ifindex := range interfaces {
		wanted[strconv.Itoa(ifindex)] = true
		if err := d.guard(ifindex); err != nil && !errors.Is(err, unix.ENODEV) { // the pod is gone
			errs = append(errs, fmt.Errorf("guard interface %d: %w", ifindex, err))
		}
	}
	for _, e := range entries {
		if wanted[e.Name()] {
			continue
		}
		errs = append(errs, removePin(filepath.Join(d.config.guards(), e.Name())))
		if ifindex, err := strconv.Atoi(e.Name()); err == nil {
			delete(d.guarded, ifindex)
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) guard(ifindex int) error {
	h := tcxHook{pin: filepath.Join(d.config.guards(), strconv.Itoa(ifindex)), ifindex: ifindex,
		program: d.objs.GuardPod, attachType: ebpf.AttachTCXIngress}
	if !d.guarded[ifindex] {
		if err := h.attach(); err != nil {
			return err
		}
		d.guarded[ifindex] = true
		return nil
	}
	_, err := d.keep(h)
	return err
}
