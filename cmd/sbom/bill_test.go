package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBill(t *testing.T) {
	text, err := bill("septum-x", "v0.1.0", &debug.BuildInfo{
		GoVersion: "go1.26.1", Main: debug.Module{Path: "github.com/septum-dev/septum", Version: "(devel)"},
		Deps: []*debug.Module{
			{Path: "example.org/z", Version: "v2.0.0+incompatible", Sum: "h1:z"},
			{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/a", Version: "v1.1.0", Sum: "h1:a"}},
		},
		Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "amd64"}, {Key: "-ldflags", Value: "-s -w"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got document
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want := document{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata: metadata{component{Type: "application", Ref: "septum-x", Name: "septum-x", Version: "v0.1.0", Properties: []property{{"go:build:GOARCH", "amd64"}}}},
		Components: []component{
			{Type: "library", Ref: "pkg:golang/example.org/a@v1.1.0", Name: "example.org/a", Version: "v1.1.0", PURL: "pkg:golang/example.org/a@v1.1.0", Properties: []property{{"go:sum", "h1:a"}}},
			{Type: "library", Ref: "pkg:golang/example.org/z@v2.0.0%2Bincompatible", Name: "example.org/z", Version: "v2.0.0+incompatible", PURL: "pkg:golang/example.org/z@v2.0.0%2Bincompatible", Properties: []property{{"go:sum", "h1:z"}}},
			{Type: "library", Ref: "pkg:golang/stdlib@1.26.1", Name: "stdlib", Version: "1.26.1", PURL: "pkg:golang/stdlib@1.26.1"},
		},
		Composition: []assembling{{Aggregate: "complete", Assemblies: []string{"septum-x"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestOfAProgram reads what a real program carries: this test's own.
func TestOfAProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := run([]string{"-out", dir, self}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, filepath.Base(self)+".cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "pkg:golang/stdlib@" + strings.TrimPrefix(runtime.Version(), "go"); !strings.Contains(string(text), want) {
		t.Errorf("%s is missing:\n%s", want, text)
	}
	if err := run([]string{"-out", dir, "bill.go"}); err == nil {
		t.Error("a bill is written of what is no program")
	}
	if err := run(nil); err == nil {
		t.Error("no program is named, and nothing is said")
	}
}
