package bpf

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

// Config says where the data path is kept.
type Config struct {
	// PinPath is a directory on a bpffs, of this node alone; "" is /sys/fs/bpf/septum.
	PinPath string
	// CgroupRoot is the node's cgroup2 mount; "" is /sys/fs/cgroup.
	CgroupRoot string
	// NoIPv6 says that the kernel has no IPv6: the proxy listens on IPv4 only.
	NoIPv6 bool
}

// layoutVersion names the directory of the pins. Maps of one version fit each other.
const layoutVersion = "v1"

func (c Config) withDefaults() Config {
	if c.PinPath == "" {
		c.PinPath = "/sys/fs/bpf/septum"
	}
	if c.CgroupRoot == "" {
		c.CgroupRoot = "/sys/fs/cgroup"
	}
	return c
}

func (c Config) root() string   { return filepath.Join(c.PinPath, layoutVersion) }
func (c Config) maps() string   { return filepath.Join(c.root(), "maps") }
func (c Config) links() string  { return filepath.Join(c.root(), "links") }
func (c Config) proxy() string  { return filepath.Join(c.root(), "proxy") }
func (c Config) guards() string { return filepath.Join(c.root(), "guards") }
func (c Config) shut() string   { return filepath.Join(c.root(), "shut") }

// Datapath is the node's programs and maps. Its methods may be called from any goroutine.
type Datapath struct {
	config Config
	objs   septumObjects
	events *ringbuf.Reader

	mu     sync.Mutex
	mirror *mirror // what the maps hold; nil when that is not known
	// node is what the map config holds; nil until it has been read.
	node *septumNodeConfig
	// ours are the pods that this run has attached, by the node's interface.
	ours map[int]PodLink
	// proxyPins are the links of the proxy that this run has attached.
	proxyPins []string
	// sides are the pods whose own interfaces have a program of this run, by the node's interface.
	sides map[int]PodLink
	// guarded are the interfaces whose guards are of this run.
	guarded map[int]bool
	// isShut are the pins below shut that are of this run.
	isShut map[string]bool
}

// Open loads the programs and opens the pinned maps, or makes them. Pinned maps of another
// shape are replaced: the programs that are attached go on with the old ones, and what these
// hold, until [Datapath.AttachPod] and [Datapath.AttachProxy] swap them.
func Open(config Config) (*Datapath, error) {
	d := &Datapath{config: config.withDefaults(), ours: map[int]PodLink{}, sides: map[int]PodLink{}, guarded: map[int]bool{}, isShut: map[string]bool{}}
	// Kernels before 5.11 count maps against the memory lock limit; later ones need nothing.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the memory lock limit: %w", err)
	}
	if err := d.makeDirs(); err != nil {
		return nil, err
	}
	err := d.load()
	if errors.Is(err, ebpf.ErrMapIncompatible) {
		if err := removeFiles(d.config.maps()); err != nil {
			return nil, fmt.Errorf("unpin maps of another layout: %w", err)
		}
		err = d.load()
	}
	if err != nil {
		return nil, err
	}
	if err := d.setMark(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	if d.events, err = ringbuf.NewReader(d.objs.Events); err != nil {
		return nil, errors.Join(fmt.Errorf("open events: %w", err), d.Close())
	}
	return d, nil
}

func (d *Datapath) load() error {
	spec, err := loadSeptum()
	if err != nil {
		return fmt.Errorf("read programs: %w", err)
	}
	pinMaps(spec)
	opts := ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: d.config.maps()}}
	if err := spec.LoadAndAssign(&d.objs, &opts); err != nil {
		return fmt.Errorf("load programs: %w", err)
	}
	return nil
}

// pinMaps has the maps pinned, but for those of a program's own constants.
func pinMaps(spec *ebpf.CollectionSpec) {
	for name, m := range spec.Maps {
		if !strings.HasPrefix(name, ".") {
			m.Pinning = ebpf.PinByName
		}
	}
}

// setMark chooses the mark of re-injected frames and the key by which the sides of a veth
// speak, once: attached programs of an earlier process use the same.
func (d *Datapath) setMark() error {
	return d.updateNode(func(n *septumNodeConfig) {
		for n.Mark == 0 {
			var b [4]byte
			rand.Read(b[:])
			n.Mark = binary.NativeEndian.Uint32(b[:])
		}
		for n.PassKey == [2]uint64{} {
			var b [16]byte
			rand.Read(b[:])
			n.PassKey = [2]uint64{binary.NativeEndian.Uint64(b[:8]), binary.NativeEndian.Uint64(b[8:])}
		}
	})
}

func (d *Datapath) updateNode(change func(*septumNodeConfig)) error {
	if d.node == nil {
		var n septumNodeConfig
		if err := d.objs.Config.Lookup(uint32(0), &n); err != nil {
			return fmt.Errorf("read node configuration: %w", err)
		}
		d.node = &n
	}
	n := *d.node
	change(&n)
	if n == *d.node {
		return nil
	}
	if err := d.objs.Config.Put(uint32(0), n); err != nil {
		return fmt.Errorf("write node configuration: %w", err)
	}
	d.node = &n
	return nil
}

// Close gives back what the process holds. Programs stay attached, and maps pinned.
func (d *Datapath) Close() error {
	var err error
	if d.events != nil {
		err = d.events.Close()
	}
	return errors.Join(err, d.objs.Close())
}

// Remove detaches every program and removes the maps. Pods are not enforced any more.
func Remove(config Config) error {
	config = config.withDefaults()
	// Links first: while the maps are there, no packet meets a program without them.
	for _, dir := range []string{config.links(), config.guards(), config.shut(), config.proxy(), config.maps()} {
		if err := removeFiles(dir); err != nil {
			return fmt.Errorf("unpin: %w", err)
		}
		if err := removeDir(dir); err != nil {
			return err
		}
	}
	if err := removeDir(config.root()); err != nil {
		return err
	}
	return removeDir(config.PinPath)
}

func removeFiles(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func removeDir(dir string) error {
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove pin directory: %w", err)
	}
	return nil
}
