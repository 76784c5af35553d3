// Package krew holds the manifest for Krew, kubectl's plugin manager, to its rules.
package krew

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// plugin is what Krew reads.
type plugin struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Spec struct {
		Version          string     `json:"version"`
		Homepage         string     `json:"homepage"`
		ShortDescription string     `json:"shortDescription"`
		Description      string     `json:"description"`
		Caveats          string     `json:"caveats"`
		Platforms        []platform `json:"platforms"`
	} `json:"spec"`
}

type platform struct {
	Selector struct {
		MatchLabels map[string]string `json:"matchLabels"`
	} `json:"selector"`
	URI    string `json:"uri"`
	SHA256 string `json:"sha256"`
	Bin    string `json:"bin"`
	Files  []struct {
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"files"`
}

// build runs the script for this machine's platform.
func build(t *testing.T, version ...string) (string, string, error) {
	t.Helper()
	out := t.TempDir()
	cmd := exec.Command("../../hack/krew.sh", version...)
	cmd.Env = append(os.Environ(), "KREW_OUT="+out, "KREW_PLATFORMS="+runtime.GOOS+"/"+runtime.GOARCH)
	text, err := cmd.CombinedOutput()
	return out, string(text), err
}

func TestManifest(t *testing.T) {
	out, text, err := build(t)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	raw, err := os.ReadFile(filepath.Join(out, "septum.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p plugin
	if err := yaml.UnmarshalStrict(raw, &p); err != nil {
		t.Fatalf("%v in\n%s", err, raw)
	}
	chart, err := os.ReadFile("../../charts/septum/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if p.APIVersion != "krew.googlecontainertools.github.com/v1alpha2" || p.Kind != "Plugin" || p.Metadata.Name != "septum" {
		t.Errorf("it is %s %s %s", p.APIVersion, p.Kind, p.Metadata.Name)
	}
	if !strings.Contains(string(chart), "appVersion: "+strings.TrimPrefix(p.Spec.Version, "v")+"\n") || !strings.HasPrefix(p.Spec.Version, "v") {
		t.Errorf("the version %q is not the chart's", p.Spec.Version)
	}
	if s := p.Spec.ShortDescription; s == "" || len(s) > 50 || strings.HasSuffix(s, ".") || p.Spec.Description == "" || p.Spec.Homepage == "" {
		t.Errorf("Krew's index takes short descriptions of 50 characters, without a dot at the end, and wants a description and a homepage; it has %q", s)
	}
	if len(p.Spec.Platforms) != 1 {
		t.Fatalf("there are %d platforms", len(p.Spec.Platforms))
	}
	one := p.Spec.Platforms[0]
	if one.Selector.MatchLabels["os"] != runtime.GOOS || one.Selector.MatchLabels["arch"] != runtime.GOARCH || !strings.HasPrefix(one.URI, "https://") || !strings.Contains(one.URI, "/"+p.Spec.Version+"/") {
		t.Errorf("the platform is %+v", one)
	}
	archive := filepath.Join(out, path.Base(one.URI))
	bytes, err := os.ReadFile(archive)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(bytes); hex.EncodeToString(sum[:]) != one.SHA256 {
		t.Errorf("the archive's sum is not %s", one.SHA256)
	}
	dir := unpack(t, archive)
	for _, f := range one.Files {
		if _, err := os.Stat(filepath.Join(dir, f.From)); err != nil || f.To != "." {
			t.Errorf("file %+v: %v", f, err)
		}
	}
	said, err := exec.Command(filepath.Join(dir, one.Bin), "--version").CombinedOutput()
	if err != nil || !strings.Contains(string(said), p.Spec.Version) {
		t.Errorf("the program says %v, %s", err, said)
	}
}

// unpack returns the directory with what the archive holds.
func unpack(t *testing.T, archive string) string {
	t.Helper()
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for entries := tar.NewReader(unzipped); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(entries)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path.Base(entry.Name)), content, fs.FileMode(entry.Mode)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestVersionsAreChecked(t *testing.T) {
	if _, text, err := build(t, "1.2"); err == nil || !regexp.MustCompile(`1\.2 is no version`).MatchString(text) {
		t.Errorf("it says %v, %s", err, text)
	}
}
