package bpf

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"
)

// bpffs mounts a bpffs for one test, and is where a kernel test begins.
func bpffs(t testing.TB) string {
	t.Helper()
	if err := features.HaveProgramType(ebpf.SchedCLS); err != nil {
		t.Skipf("no BPF here: %v", err)
	}
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatalf("mount bpffs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount bpffs: %v", err)
		}
	})
	return dir
}

func open(t testing.TB, c Config) *Datapath {
	t.Helper()
	d, err := Open(c)
	if err != nil {
		var v *ebpf.VerifierError
		if errors.As(err, &v) {
			t.Fatalf("%+v", v)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }
