package main

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// envoy is the stock Envoy binary and the files of Debian's C library that it is linked with.
type envoy struct {
	Version string
	// Path is the binary's place in the image.
	Path string
}

// libc is the package that holds the C library; nothing else of its closure is taken.
func (e envoy) libc(needed []string) debian {
	return debian{Packages: []string{"libc6"}, Keep: func(name string) bool {
		return slices.Contains(needed, path.Base(name)) || name == "usr/share/doc/libc6/copyright"
	}}
}

func (e envoy) binary(b *builder) string {
	return filepath.Join(b.cache, "envoy", e.Version, "envoy")
}

func (e envoy) prepare(b *builder) (string, error) {
	if _, err := os.Stat(e.binary(b)); err != nil {
		cmd := exec.CommandContext(b.ctx, "xds/envoy/fetch-envoy.sh")
		cmd.Env = append(os.Environ(), "SEPTUM_CACHE="+b.cache)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return "", fmt.Errorf("fetch Envoy %s: %w", e.Version, err)
		}
	}
	binary, err := fileDigest(e.binary(b))
	if err != nil {
		return "", err
	}
	libc, err := e.libc(nil).prepare(b)
	if err != nil {
		return "", err
	}
	return binary + " " + libc, nil
}

func (e envoy) files(b *builder) (tree, error) {
	needed, err := neededBy(e.binary(b))
	if err != nil {
		return nil, fmt.Errorf("read what Envoy is linked with: %w", err)
	}
	t, err := e.libc(needed).files(b)
	if err != nil {
		return nil, err
	}
	for _, file := range needed {
		if !slices.ContainsFunc(keys(t), func(name string) bool { return path.Base(name) == file }) {
			return nil, fmt.Errorf("the package libc6 has no %s, which Envoy needs", file)
		}
	}
	return t, t.file(e.Path, 0o755, e.binary(b))
}

func keys(t tree) []string {
	names := make([]string, 0, len(t))
	for name := range t {
		names = append(names, name)
	}
	return names
}

// neededBy are the base names of the libraries and of the interpreter of a program.
func neededBy(binary string) ([]string, error) {
	f, err := elf.Open(binary)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, prog := range f.Progs {
		if prog.Type != elf.PT_INTERP {
			continue
		}
		name := make([]byte, prog.Filesz)
		if _, err := prog.ReadAt(name, 0); err != nil {
			return nil, err
		}
		needed = append(needed, path.Base(strings.TrimRight(string(name), "\x00")))
	}
	slices.Sort(needed)
	return slices.Compact(needed), nil
}
