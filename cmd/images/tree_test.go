package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// written are the headers of a tree's tar, one line each.
func written(t *testing.T, files tree) ([]string, []byte) {
	t.Helper()
	var out bytes.Buffer
	if err := files.write(&out); err != nil {
		t.Fatal(err)
	}
	var lines []string
	r := tar.NewReader(bytes.NewReader(out.Bytes()))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return lines, out.Bytes()
		}
		if err != nil {
			t.Fatal(err)
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s has a time: %v", h.Name, h.ModTime)
		}
		lines = append(lines, h.FileInfo().Mode().String()+" "+h.Name+" "+h.Linkname)
	}
}

func TestTreeIsSortedWithParentsFirst(t *testing.T) {
	files := tree{}
	files.symlink("/lib64", "usr/lib64")
	files.bytes("/usr/bin/tool", 0o755, []byte("x"))
	files.dir("/tmp", 0o1777)
	files.bytes("etc/passwd", 0o644, []byte("root"))
	lines, first := written(t, files)
	want := []string{
		"drwxr-xr-x etc/ ", "-rw-r--r-- etc/passwd ", "Lrwxrwxrwx lib64 usr/lib64",
		"dtrwxrwxrwx tmp/ ", "drwxr-xr-x usr/ ", "drwxr-xr-x usr/bin/ ", "-rwxr-xr-x usr/bin/tool ",
	}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("tar (-want +got):\n%s", diff)
	}
	if _, second := written(t, files); !bytes.Equal(first, second) {
		t.Error("the same tree gave other bytes")
	}
}

func TestDebianFiles(t *testing.T) {
	header := func(kind byte, name, link string) *tar.Header {
		return &tar.Header{Typeflag: kind, Name: name, Linkname: link, Mode: 0o755}
	}
	for name, tt := range map[string]struct {
		headers []*tar.Header
		keep    func(string) bool
		want    []string
	}{
		"what stands in / goes to /usr": {
			headers: []*tar.Header{header(tar.TypeReg, "./bin/bash", ""), header(tar.TypeReg, "./lib/x86_64-linux-gnu/libc.so.6", "")},
			want:    []string{"usr/bin/bash", "usr/lib/x86_64-linux-gnu/libc.so.6"},
		},
		"documentation is left out, licences are not": {
			headers: []*tar.Header{
				header(tar.TypeReg, "./usr/share/doc/bash/README", ""), header(tar.TypeReg, "./usr/share/doc/bash/copyright", ""),
				header(tar.TypeReg, "./usr/share/man/man1/bash.1.gz", ""),
			},
			want: []string{"usr/share/doc/bash/copyright"},
		},
		"a hard link is another file of the same content": {
			headers: []*tar.Header{header(tar.TypeReg, "./bin/gzip", ""), header(tar.TypeLink, "./bin/gunzip", "./bin/gzip")},
			want:    []string{"usr/bin/gunzip", "usr/bin/gzip"},
		},
		"only what is to be kept": {
			headers: []*tar.Header{header(tar.TypeReg, "./lib/libc.so.6", ""), header(tar.TypeReg, "./sbin/ldconfig", "")},
			keep:    func(name string) bool { return name == "usr/lib/libc.so.6" },
			want:    []string{"usr/lib/libc.so.6"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := tree{}
			for _, h := range tt.headers {
				debian{Keep: tt.keep}.add(files, h, []byte("content"))
			}
			got := keys(files)
			slices.Sort(got)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScriptsOfPackages(t *testing.T) {
	files := tree{}
	files.bytes("usr/share/ca-certificates/mozilla/b.crt", 0o644, []byte("B\n"))
	files.bytes("usr/share/ca-certificates/mozilla/a.crt", 0o644, []byte("A\n"))
	files.bytes("usr/bin/mawk", 0o755, nil)
	certificates(files)
	alternatives(files)
	r, err := files["etc/ssl/certs/ca-certificates.crt"].open()
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := io.ReadAll(r)
	if err != nil || string(bundle) != "A\nB\n" {
		t.Errorf("the bundle is %q, %v", bundle, err)
	}
	if files["usr/bin/awk"].Linkname != "mawk" {
		t.Error("there is no awk")
	}
	if _, ok := files["usr/bin/nc"]; ok {
		t.Error("a link to a program that is not there")
	}
}

func TestChoose(t *testing.T) {
	chosen, err := choose(images(), "septum-envoy,septum-operator")
	if err != nil || len(chosen) != 2 || chosen[0].Name != "septum-envoy" {
		t.Errorf("chose %v, %v", chosen, err)
	}
	if _, err := choose(images(), "septum"); err == nil {
		t.Error("an unknown image was accepted")
	}
}

// TestUnchangedIsKnown holds that an archive is built again when, and only when, its input differs.
func TestUnchangedIsKnown(t *testing.T) {
	b := builder{ctx: t.Context(), out: t.TempDir(), bin: t.TempDir(), cache: t.TempDir(), tag: "dev"}
	img := Image{Name: "septum-test", Parts: []part{base{}}}
	if err := b.build(img); err != nil {
		t.Fatal(err)
	}
	inputs, err := b.inputs(img)
	if err != nil || !same(b.archive(img), b.archive(img)+".inputs", inputs) {
		t.Errorf("an unchanged image would be built again (%v)", err)
	}
	img.Config.User = operatorUser
	if changed, err := b.inputs(img); err != nil || changed == inputs {
		t.Errorf("a changed configuration is not noticed (%v)", err)
	}
}
