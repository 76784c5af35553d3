package launch

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
)

// enforcer serves the hand-shake at path until stop is called.
func enforcer(t *testing.T, path string, hello func(*Proxy)) (stop func(), failed <-chan error) {
	t.Helper()
	lis, err := Listen(path, os.Getgid())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	failures := make(chan error, 16)
	wg.Go(func() {
		if err := Serve(ctx, lis, os.Getuid(), hello, func(err error) { failures <- err }); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return stop, failures
}

// The launcher gives its namespace, hears where the bootstrap is, and comes back to the
// next enforcer by itself.
func TestHandShake(t *testing.T) {
	path := filepath.Join(t.TempDir(), "launch.sock")
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan Reply, 4)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	client := &Client{Socket: path, Instance: "i1", Ready: func(r Reply) { ready <- r }, Failed: func(error) {}}
	wg.Go(func() { client.Run(ctx) })
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	want, err := netns.Identify(own)
	if err != nil {
		t.Fatal(err)
	}
	var gone <-chan struct{}
	for _, bootstrap := range []string{"first", "second"} {
		proxies := make(chan *Proxy, 1)
		stop, _ := enforcer(t, path, func(p *Proxy) {
			id, err := netns.Identify(p.NetNS)
			if err != nil || id != want || p.Instance != "i1" {
				t.Errorf("namespace %v, %v, want %v; instance %q", id, err, want, p.Instance)
			}
			proxies <- p
			if err := p.Reply(Reply{OK: true, Bootstrap: bootstrap}); err != nil {
				t.Error(err)
			}
		})
		gone = wait(t, proxies).Gone
		if r := wait(t, ready); r.Bootstrap != bootstrap {
			t.Errorf("reply %+v, want %s", r, bootstrap)
		}
		select {
		case <-gone:
			t.Error("gone while connected")
		default:
		}
		stop()
		<-gone
	}
}

func TestLauncherEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "launch.sock")
	proxies := make(chan *Proxy, 1)
	enforcer(t, path, func(p *Proxy) { proxies <- p })
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	client := &Client{Socket: path, Instance: "i1", Ready: func(Reply) {}, Failed: func(error) {}}
	wg.Go(func() { client.Run(ctx) })
	gone := wait(t, proxies).Gone
	cancel()
	wg.Wait()
	wait(t, gone)
}

func TestServeRefuses(t *testing.T) {
	hello, err := json.Marshal(Hello{Version: Version, Instance: "i"})
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	own, err := os.Open("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for _, c := range []struct {
		name, line string
		file       *os.File
		want       string
	}{
		{"no file", string(hello) + "\n", nil, "no network namespace"},
		{"a file that is no namespace", string(hello) + "\n", null, "not a namespace"},
		{"no line", string(hello), own, "not one line"},
		{"another version", `{"version":2,"instance":"i"}` + "\n", own, "version 2"},
		{"no JSON", "hello\n", own, "decode"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "launch.sock")
			_, failed := enforcer(t, path, func(*Proxy) { t.Error("accepted") })
			conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var oob []byte
			if c.file != nil {
				oob = unix.UnixRights(int(c.file.Fd()))
			}
			if _, _, err := conn.WriteMsgUnix([]byte(c.line), oob, nil); err != nil {
				t.Fatal(err)
			}
			if err := wait(t, failed); !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q, want %q in it", err, c.want)
			}
		})
	}
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("timeout")
		panic("unreachable")
	}
}
