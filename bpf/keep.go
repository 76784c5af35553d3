package bpf

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Root on the node can take away what is pinned, detach a link, or write into a map. A link whose
// pin goes is detached with it, and a pod without programs is open: so it is looked whether
// everything is as this process has left it.

// KeepPinned pins the maps again whose pins are gone, and returns their names, sorted. Without
// them the next process would begin with empty ones.
func (d *Datapath) KeepPinned() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.makeDirs(); err != nil {
		return nil, err
	}
	var again []string
	var errs []error
	for name, m := range d.maps() {
		if _, err := os.Lstat(filepath.Join(d.config.maps(), name)); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		// It believes to be pinned still.
		if err := m.Unpin(); err != nil {
			errs = append(errs, fmt.Errorf("pin map %s again: %w", name, err))
			continue
		}
		if err := m.Pin(filepath.Join(d.config.maps(), name)); err != nil {
			errs = append(errs, fmt.Errorf("pin map %s again: %w", name, err))
			continue
		}
		again = append(again, name)
	}
	slices.Sort(again)
	return again, errors.Join(errs...)
}

func (d *Datapath) makeDirs() error {
	for _, dir := range []string{d.config.maps(), d.config.links(), d.config.guards(), d.config.shut(), d.config.proxy()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make pin directory: %w", err)
		}
	}
	return nil
}

// keep attaches the hook's program if it is there no more, and puts it first. It says whether
// either was needed.
func (d *Datapath) keep(h tcxHook) (bool, error) {
	there, err := alive(h.pin)
	if err != nil {
		return false, err
	}
	if !there {
		if _, err := net.InterfaceByIndex(h.ifindex); err != nil {
			return false, nil // the interface is gone, and so will be what is known of it
		}
		err := h.attach()
		if errors.Is(err, unix.ENODEV) {
			return false, nil
		}
		return err == nil, err
	}
	first, err := h.isFirst()
	if err != nil || first {
		return false, err
	}
	return true, d.moveFirst(h)
}

// ProxyIsAttached says whether all that [Datapath.AttachProxy] has attached still is, or nothing
// is to be.
func (d *Datapath) ProxyIsAttached() (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, pin := range d.proxyPins {
		there, err := alive(pin)
		if err != nil || !there {
			return false, err
		}
	}
	return true, nil
}

// alive says whether there is a pinned link, and it is attached to something.
func alive(pin string) (bool, error) {
	l, err := openPinned(pin)
	if l == nil {
		return false, err
	}
	defer l.Close()
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("read pinned link: %w", err)
	}
	if tcx := info.TCX(); tcx != nil {
		return tcx.Ifindex != 0, nil
	}
	if ns := info.NetNs(); ns != nil {
		return ns.NetnsInode != 0, nil
	}
	if cgroup := info.Cgroup(); cgroup != nil {
		return cgroup.CgroupId != 0, nil
	}
	return true, nil
}

// Audit reads what this process has written and returns the names of the maps, sorted, that hold
// something else. Those of pods' interfaces and of the node are right again when it returns; for
// the others [Datapath.Apply] and those beside it are to be called again.
func (d *Datapath) Audit() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var wrong []string
	note := func(name string, right bool) {
		if !right {
			wrong = append(wrong, name)
		}
	}
	errNode := d.auditNode(note)
	errPods := d.auditPods(note)
	errMirror := d.auditMirror(note)
	slices.Sort(wrong)
	return wrong, errors.Join(errNode, errPods, errMirror)
}

func (d *Datapath) auditNode(note func(string, bool)) error {
	var n septumNodeConfig
	if err := d.objs.Config.Lookup(uint32(0), &n); err != nil {
		return fmt.Errorf("read node configuration: %w", err)
	}
	if n == *d.node {
		return nil
	}
	note("config", false)
	// Nobody's connection is of this generation.
	d.node.Generation = max(d.node.Generation, n.Generation) + 1
	if err := d.objs.Config.Put(uint32(0), *d.node); err != nil {
		return fmt.Errorf("write node configuration: %w", err)
	}
	return nil
}

func (d *Datapath) auditPods(note func(string, bool)) error {
	pods, errP := readMap[septumAddr, septumPod](d.objs.Pods)
	links, errL := readMap[uint32, septumAddr](d.objs.Links)
	if err := errors.Join(errP, errL); err != nil {
		return fmt.Errorf("read pods' interfaces: %w", err)
	}
	var errs []error
	for _, ifindex := range slices.Sorted(maps.Keys(d.ours)) {
		p := d.ours[ifindex]
		value, keys := p.kernel()
		rightPods := !slices.ContainsFunc(keys, func(k septumAddr) bool { return pods[k] != value })
		rightLinks := links[uint32(ifindex)] == keys[0]
		note("pods", rightPods)
		note("links", rightLinks)
		if !rightPods || !rightLinks {
			errs = append(errs, d.writePod(p))
		}
	}
	return errors.Join(errs...)
}

func (d *Datapath) auditMirror(note func(string, bool)) error {
	was := d.mirror
	if was == nil {
		return nil // the next write reads it
	}
	d.mirror = nil
	if err := d.readMirror(); err != nil {
		return err
	}
	note("tables", maps.Equal(was.tables, d.mirror.tables))
	note("addresses", maps.Equal(was.addresses, d.mirror.addresses))
	note("endpoints", maps.Equal(was.endpoints, d.mirror.endpoints))
	note("hosts", maps.Equal(was.hosts, d.mirror.hosts))
	note("owners", maps.Equal(was.owners, d.mirror.owners))
	note("successors", maps.Equal(was.successors, d.mirror.successors))
	return nil
}

// maps are the pinned maps, by name.
func (d *Datapath) maps() map[string]*ebpf.Map {
	out := map[string]*ebpf.Map{}
	all := reflect.ValueOf(d.objs.septumMaps)
	for i := range all.NumField() {
		out[all.Type().Field(i).Tag.Get("ebpf")] = all.Field(i).Interface().(*ebpf.Map)
	}
	return out
}
