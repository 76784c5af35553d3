package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// PutFirst sees to it that pods' programs are attached and run before those of others: one before
// ours that ends the chain would let everything past. It returns the interfaces, sorted, where
// ours were not there, or not first. There is no moment at which neither the old nor the new program runs:
// the kernel does not move a link, so a second copy of the program is attached first.
func (d *Datapath) PutFirst() ([]int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	attached, err := d.Attached()
	if err != nil {
		return nil, err
	}
	var moved []int
	var errs []error
	attached = slices.AppendSeq(attached, maps.Keys(d.ours)) // all of its pins may be gone
	slices.Sort(attached)
	for _, ifindex := range slices.Compact(attached) {
		again := false
		for _, h := range d.podHooks(ifindex) {
			needed, err := d.keep(h)
			again = again || needed
			if err != nil {
				errs = append(errs, fmt.Errorf("interface %d: %w", ifindex, err))
			}
		}
		side, err := d.keepPodSide(ifindex)
		if err != nil {
			errs = append(errs, err)
		}
		if again || side {
			moved = append(moved, ifindex)
		}
	}
	return moved, errors.Join(errs...)
}

// isFirst is also true where the interface, and with it the hook, is gone.
func (h tcxHook) isFirst() (bool, error) {
	l, info, err := h.pinned()
	if err != nil {
		return false, err
	}
	if l == nil {
		return true, nil
	}
	defer l.Close()
	if info == nil {
		return true, nil
	}
	result, err := link.QueryPrograms(link.QueryOptions{Target: h.ifindex, Attach: h.attachType})
	if errors.Is(err, unix.ENODEV) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("list programs of %v: %w", h.attachType, err)
	}
	if len(result.Programs) == 0 {
		return true, nil
	}
	first, ok := result.Programs[0].LinkID()
	return ok && first == info.ID, nil
}

// moveFirst replaces the hook's link by one at the head. The old one ends with its pin.
func (d *Datapath) moveFirst(h tcxHook) error {
	name := "to_pod"
	switch h.program {
	case d.objs.FromPod:
		name = "from_pod"
	case d.objs.GuardPod:
		name = "guard_pod"
	case d.objs.ShutIn:
		name = "shut_in"
	case d.objs.ShutOut:
		name = "shut_out"
	}
	program, err := d.copyOf(name, 0)
	if err != nil {
		return err
	}
	defer program.Close()
	return h.replace(program)
}

// replace puts a program at the hook's head in place of the one that is there.
func (h tcxHook) replace(program *ebpf.Program) error {
	l, err := link.AttachTCX(link.TCXOptions{Interface: h.ifindex, Program: program, Attach: h.attachType, Anchor: link.Head()})
	if err != nil {
		return fmt.Errorf("attach %v: %w", h.attachType, err)
	}
	next := h.pin + "-next"
	if err := removePin(next); err != nil { // of a process that ended in between
		return errors.Join(err, l.Close())
	}
	if err := pinLink(l, next); err != nil {
		return err
	}
	if err := os.Rename(next, h.pin); err != nil {
		return errors.Join(fmt.Errorf("replace pinned link: %w", err), removePin(next))
	}
	return nil
}

// copyOf loads one of the programs anew: one program is only once at a hook. ifindex is the
// node's interface of the pod that a program at a pod's own interface is for.
func (d *Datapath) copyOf(name string, ifindex int) (*ebpf.Program, error) {
	spec, err := loadSeptum()
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	pinMaps(spec)
	if err := spec.Variables["pod_ifindex"].Set(uint32(ifindex)); err != nil {
		return nil, fmt.Errorf("name the pod's interface: %w", err)
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{name: spec.Programs[name]}
	loaded, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.config.maps()}})
	if err != nil {
		return nil, fmt.Errorf("load a copy of the program: %w", err)
	}
	defer loaded.Close()
	return loaded.DetachProgram(name), nil
}
