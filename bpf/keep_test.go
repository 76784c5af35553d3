package bpf

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
)

// unpinAll removes the files below a directory of pins.
func unpinAll(t *testing.T, dir string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Remove(path)
	}))
}

// becomes waits until a peer that is denied gets through, or does not.
func (l *lab) becomes(t *testing.T, denied bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		err := l.pods["c"].visit(net.Dialer{Timeout: 300 * time.Millisecond}, l.at(servedPort))
		if isTimeout(err) == denied {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("a peer that is denied: %v; denied again should be %v", err, denied)
		}
	}
}

// Whatever pins are removed, and links detached: everything is as before when it has been looked
// after, with the connections that there were.
func TestKeepPinned(t *testing.T) {
	for _, test := range []struct {
		name string
		// damage does it; open says that it opens what is denied.
		damage func(t *testing.T, l *lab)
		open   bool
		maps   int
	}{
		{"everything unpinned", func(t *testing.T, l *lab) { t.Helper(); unpinAll(t, l.config.withDefaults().root()) }, true, 20},
		{"the directory removed", func(t *testing.T, l *lab) { t.Helper(); must(t, os.RemoveAll(l.config.PinPath)) }, true, 20},
		{"maps unpinned", func(t *testing.T, l *lab) { t.Helper(); unpinAll(t, l.config.maps()) }, false, 20},
		{"the pod's links unpinned", func(t *testing.T, l *lab) { t.Helper(); unpinAll(t, l.config.links()) }, true, 0},
		{"links detached", func(t *testing.T, l *lab) {
			t.Helper()
			for _, dir := range []string{l.config.links(), l.config.proxy()} {
				entries, err := os.ReadDir(dir)
				must(t, err)
				for _, e := range entries {
					k, err := link.LoadPinnedLink(filepath.Join(dir, e.Name()), nil)
					must(t, err)
					must(t, k.Detach())
					must(t, k.Close())
				}
			}
		}, true, 0},
		{"the proxy's links unpinned", func(t *testing.T, l *lab) { t.Helper(); unpinAll(t, l.config.proxy()) }, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newLab(t, routed, true, false)
			old, _, err := l.pods["a"].dial(net.Dialer{}, l.at(servedPort))
			must(t, err)
			defer old.Close()
			must(t, echo(old, "begun"))
			l.becomes(t, true)
			test.damage(t, l)
			if test.open {
				l.becomes(t, false) // or this would prove nothing
			}
			l.inNode(func() error {
				pinned, err := l.KeepPinned()
				if len(pinned) != test.maps {
					t.Errorf("%d maps pinned again, want %d: %q", len(pinned), test.maps, pinned)
				}
				if err != nil {
					return err
				}
				moved, err := l.PutFirst()
				if test.open != slices.Equal(moved, []int{l.pods["b"].link.Ifindex}) {
					t.Errorf("programs put back at %v", moved)
				}
				if err != nil {
					return err
				}
				whole, err := l.ProxyIsAttached()
				if err != nil || whole {
					return err
				}
				err = l.AttachProxy(l.proxyLink())
				for end := time.Now().Add(10 * time.Second); errors.Is(err, fs.ErrExist) && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
					err = l.AttachProxy(l.proxyLink()) // a link ends some time after its pin
				}
				return err
			})
			l.becomes(t, true)
			must(t, echo(old, "and goes on"))
			must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
			l.inNode(func() error {
				if whole, err := l.ProxyIsAttached(); err != nil || !whole {
					t.Errorf("the proxy is attached: %v, %v", whole, err)
				}
				pinned, err := l.KeepPinned()
				if len(pinned) != 0 {
					t.Errorf("pinned again, though nothing was gone: %q", pinned)
				}
				return err
			})
		})
	}
}

// What is in the maps is what was written, whoever else writes to them; until that is found, what
// is denied stays so.
func TestAudit(t *testing.T) {
	l := newLab(t, routed, true, false)
	state := labState(l.testNode, true, false)
	audit := func() []string {
		t.Helper()
		wrong, err := l.Audit()
		must(t, err)
		return wrong
	}
	if wrong := audit(); len(wrong) != 0 {
		t.Fatalf("wrong, though nobody has written: %q", wrong)
	}
	var config septumNodeConfig
	must(t, l.objs.Config.Lookup(uint32(0), &config))
	for _, test := range []struct {
		name string
		m    *ebpf.Map
	}{
		{"tables", l.objs.Tables}, {"addresses", l.objs.Addresses}, {"endpoints", l.objs.Endpoints}, {"hosts", l.objs.Hosts},
		{"pods", l.objs.Pods}, {"links", l.objs.Links}, {"config", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.m == nil {
				must(t, l.objs.Config.Put(uint32(0), septumNodeConfig{}))
			} else {
				flush(t, test.m)
			}
			l.becomes(t, true)
			if wrong := audit(); !slices.Equal(wrong, []string{test.name}) {
				t.Errorf("wrong are %q", wrong)
			}
			must(t, l.Apply(state))
			must(t, l.SetHostAddrs(l.hosts))
			if wrong := audit(); len(wrong) != 0 {
				t.Errorf("still wrong: %q", wrong)
			}
			l.becomes(t, true)
			must(t, l.pods["a"].visit(net.Dialer{}, l.at(servedPort)))
		})
	}
}

// flush deletes all entries of a map.
func flush(t *testing.T, m *ebpf.Map) {
	t.Helper()
	key := make([]byte, m.KeySize())
	for {
		err := m.NextKey(nil, &key)
		if err != nil {
			return // it is empty
		}
		must(t, m.Delete(key))
	}
}
