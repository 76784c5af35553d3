package enforcer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/septum-dev/septum/policy"
)

func TestDiskKeepsNumbers(t *testing.T) {
	dir := t.TempDir()
	want := policy.Numbers{}.Assign(update("1", []string{"a", "b"}).NodePolicy)
	if err := (&Disk{Dir: dir}).SaveNumbers(want); err != nil {
		t.Fatal(err)
	}
	_, got, err := (&Disk{Dir: dir}).Load()
	if !errors.Is(err, fs.ErrNotExist) { // there are numbers, but no resources
		t.Errorf("load: %v", err)
	}
	if !reflect.DeepEqual(got, want) || len(got.Classes) != 2 {
		t.Errorf("loaded %+v, want %+v", got, want)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files: %v, %v", files, err)
	}
}

// Numbers that are damaged are not silently replaced: the maps may hold them.
func TestDiskWithDamagedNumbers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, numbersFile), []byte(`{"tables":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (&Disk{Dir: dir}).Load(); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("load: %v", err)
	}
}
