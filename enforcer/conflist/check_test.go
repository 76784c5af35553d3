package conflist

import (
	"os"
	"path/filepath"
	"testing"
)

func TestCheck(t *testing.T) {
	conf, bin := t.TempDir(), t.TempDir()
	file := filepath.Join(conf, "10-net.conflist")
	program := filepath.Join(bin, "septum-cni")
	write := func(path, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	wrong := func(when string) {
		t.Helper()
		if err := Check(conf, bin, "septum-cni"); err == nil {
			t.Errorf("%s: all is well", when)
		}
	}
	wrong("no network")
	write(file, `{"name":"net","plugins":[{"type":"ptp"}]}`, 0o600)
	write(program, "", 0o600)
	wrong("not in the list")
	write(file, `{"name":"net","plugins":[{"type":"ptp"},{"type":"septum-cni"}]}`, 0o600)
	wrong("a program that cannot be run")
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	wrong("no program")
	write(program, "", 0o700)
	if err := Check(conf, bin, "septum-cni"); err != nil {
		t.Error(err)
	}
	write(filepath.Join(conf, "05-other.conflist"), `{"name":"other","plugins":[{"type":"ptp"}]}`, 0o600)
	wrong("not in the list that comes first")
}
