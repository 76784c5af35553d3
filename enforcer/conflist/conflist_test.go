package conflist

import (
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plugin is what the tests install.
func plugin(timeout string) map[string]any {
	return map[string]any{"type": "septum-cni", "timeout": timeout}
}

// dirOf writes the files of an archive into a directory.
func dirOf(t *testing.T, files []txtar.File) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func contents(t *testing.T, dir, prefix string) []txtar.File {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []txtar.File
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, txtar.File{Name: prefix + e.Name(), Data: data})
	}
	return out
}

// TestGolden installs twice, and removes: what is there afterwards is what was before.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no test data: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var in []txtar.File
			for _, f := range archive.Files {
				if !strings.HasPrefix(f.Name, "want/") {
					in = append(in, f)
				}
			}
			dir := dirOf(t, in)
			if changed, err := Install(dir, plugin("10s")); err != nil || !changed {
				t.Fatalf("Install: changed %v, %v", changed, err)
			}
			got := contents(t, dir, "want/")
			if changed, err := Install(dir, plugin("10s")); err != nil || changed {
				t.Errorf("Install again: changed %v, %v", changed, err)
			}
			if diff := cmp.Diff(got, contents(t, dir, "want/")); diff != "" {
				t.Errorf("Install is not idempotent:\n%s", diff)
			}
			if *update {
				archive.Files = append(append([]txtar.File(nil), in...), got...)
				if err := os.WriteFile(file, txtar.Format(archive), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(archive.Files[len(in):], got); diff != "" {
				t.Errorf("installed (-want +got):\n%s", diff)
			}
			if err := Remove(dir, "septum-cni"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(in, contents(t, dir, "")); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		})
	}
}

const ptp = `{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"ptp","mtu":1500}]}`

func TestInstallRefuses(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files []txtar.File
		want  error
	}{
		{"nothing there", nil, ErrNoNetwork},
		{"a single plugin", []txtar.File{{Name: "10-x.conf", Data: []byte(`{"type":"ptp"}`)}, {Name: "20-x.conflist", Data: []byte(ptp)}}, ErrNoList},
		{"a list of nothing", []txtar.File{{Name: "10-x.conflist", Data: []byte(`{"name":"x"}`)}}, ErrNoList},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := dirOf(t, tt.files)
			if changed, err := Install(dir, plugin("10s")); changed || !errors.Is(err, tt.want) {
				t.Errorf("Install: changed %v, %v, want %v", changed, err, tt.want)
			}
			if diff := cmp.Diff(tt.files, contents(t, dir, "")); diff != "" {
				t.Errorf("files changed:\n%s", diff)
			}
		})
	}
}

// Other settings replace the entry; another first file takes it over; a file that the CNI
// has written anew is not replaced by the old one on removal.
func TestChanges(t *testing.T) {
	dir := dirOf(t, []txtar.File{{Name: "10-a.conflist", Data: []byte(ptp)}})
	install := func(p map[string]any) {
		t.Helper()
		if changed, err := Install(dir, p); err != nil || !changed {
			t.Fatalf("Install: changed %v, %v", changed, err)
		}
	}
	count := func(file string) int {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(data), `"septum-cni"`)
	}
	install(plugin("10s"))
	install(plugin("20s"))
	if n := count("10-a.conflist"); n != 1 {
		t.Errorf("%d entries after new settings, want 1", n)
	}
	if err := os.WriteFile(filepath.Join(dir, "05-b.conflist"), []byte(ptp), 0o600); err != nil {
		t.Fatal(err)
	}
	install(plugin("20s"))
	if a, b := count("10-a.conflist"), count("05-b.conflist"); a != 0 || b != 1 {
		t.Errorf("%d entries in the old file and %d in the new first one, want 0 and 1", a, b)
	}
	rewritten := strings.Replace(ptp, "1500", "1400", 1)
	if err := os.WriteFile(filepath.Join(dir, "05-b.conflist"), []byte(rewritten), 0o600); err != nil {
		t.Fatal(err)
	}
	install(plugin("20s"))
	if err := Remove(dir, "septum-cni"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "05-b.conflist")); err != nil || string(got) != rewritten {
		t.Errorf("after the removal: %s, %v, want what the CNI wrote last", got, err)
	}
}

func TestKeep(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	outcomes, ended := make(chan error, 64), make(chan error, 1)
	go func() {
		ended <- Keep(ctx, dir, plugin("10s"), func(_ bool, err error) { outcomes <- err })
	}()
	if err := <-outcomes; !errors.Is(err, ErrNoNetwork) {
		t.Errorf("with no network: %v", err)
	}
	file := filepath.Join(dir, "10-a.conflist")
	for range 3 { // the CNI writes its file, and writes it again
		if err := os.WriteFile(file, []byte(ptp), 0o600); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(5 * time.Second)
		for {
			if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), "septum-cni") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the plugin did not come back")
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestCopy(t *testing.T) {
	from, to := filepath.Join(t.TempDir(), "septum-cni"), t.TempDir()
	for _, content := range []string{"one", "two"} {
		if err := os.WriteFile(from, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Copy(from, to); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(to, "septum-cni")
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err := errors.Join(err, statErr); err != nil || string(got) != content || info.Mode().Perm() != 0o755 {
			t.Errorf("copy is %q, %v, %v", got, info.Mode(), err)
		}
	}
}
