package enforcer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/septum-dev/septum/xds/septumpb"
)

// What somebody takes away from the node's data path is put back while the enforcer runs.
// Flushed maps open nothing; a program that is detached with its pin does, until it is back.
func TestTakenAway(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	n.becomes(stranger, "GET", "/data", "error: ")
	pins := n.path("bpf/septum/v1")
	for _, c := range []struct {
		name string
		take func() error
		// closed says that nothing may pass meanwhile.
		closed bool
	}{
		{"pods' programs", func() error { return unpin(filepath.Join(pins, "links")) }, false},
		{"the proxy's programs", func() error { return unpin(filepath.Join(pins, "proxy")) }, true},
		{"all pins", func() error { return unpin(pins) }, false},
		{"what the maps hold", func() error {
			var errs []error
			for _, name := range []string{"tables", "addresses", "endpoints", "hosts", "pods", "links"} {
				errs = append(errs, flush(filepath.Join(pins, "maps", name)))
			}
			return errors.Join(errs...)
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			stop := make(chan struct{})
			passed := make(chan int, 2)
			if c.closed {
				for _, r := range [][2]string{{stranger, "/data"}, {client, "/other"}} {
					go func() { passed <- n.passed(r[0], r[1], stop) }()
				}
			}
			end := sync.OnceFunc(func() { close(stop) })
			defer end()
			must(t, c.take())
			time.Sleep(500 * time.Millisecond)
			begun := time.Now()
			for _, want := range [][3]string{{stranger, "/data", "error: "}, {client, "/other", denied}, {client, "/data", "200 GET /data from " + client}} {
				n.becomesWithin(2*time.Minute, want[0], "GET", want[1], want[2])
			}
			t.Logf("as before after %v", time.Since(begun).Round(time.Second))
			end()
			for range cap(passed) {
				if !c.closed {
					break
				}
				if got := <-passed; got != 0 {
					t.Errorf("%d denied requests were answered by the server", got)
				}
			}
			// From here on, nothing.
			for range 20 {
				if got := ask(n.httpClient(client, false), "GET", "/other"); got != denied {
					t.Errorf("a denied request afterwards: %q", got)
				}
			}
		})
	}
}

func unpin(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		return os.Remove(path)
	})
}

// flush empties a pinned map.
func flush(pin string) error {
	m, err := ebpf.LoadPinnedMap(pin, nil)
	if err != nil {
		return err
	}
	defer m.Close()
	for key := make([]byte, m.KeySize()); ; {
		if err := m.NextKey(nil, &key); err != nil {
			return nil // it is empty
		}
		if err := m.Delete(key); err != nil {
			return err
		}
	}
}
