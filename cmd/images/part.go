package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// part is one layer of an image.
type part interface {
	// prepare makes or fetches what the part is made of and returns a digest of it.
	prepare(b *builder) (string, error)
	// files are the layer's files; prepare has run before.
	files(b *builder) (tree, error)
}

// builder is where images are built.
type builder struct {
	ctx context.Context
	// cache holds fetched files, bin compiled programs, out the archives.
	cache, bin, out string
	tag             string
}

// base is what every image has: users, name resolution and a directory for temporary files.
type base struct{}

func (base) prepare(*builder) (string, error) { return "1", nil }

func (base) files(*builder) (tree, error) {
	t := tree{}
	t.dir("/tmp", 0o1777)
	t.dir("/etc", 0o755)
	t.bytes("/etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\n"+
		"envoy:x:10077:10077:envoy:/:/sbin/nologin\n"+
		"nonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"))
	t.bytes("/etc/group", 0o644, []byte("root:x:0:\nenvoy:x:10077:\nnonroot:x:65532:\n"))
	t.bytes("/etc/nsswitch.conf", 0o644, []byte("hosts: files dns\n"))
	return t, nil
}

// goProgram is a static Go program of the repository.
type goProgram struct {
	// Module is the directory of the program's module; "" is the repository's own.
	Module string
	// Package is what is built, Binary its name in the builder's bin, Path its place in the image.
	Package, Binary, Path string
}

func (p goProgram) prepare(b *builder) (string, error) {
	out, err := filepath.Abs(filepath.Join(b.bin, p.Binary))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(b.ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", out, p.Package)
	cmd.Dir = p.Module
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go build %s: %w", p.Package, err)
	}
	return fileDigest(out)
}

func (p goProgram) files(b *builder) (tree, error) {
	t := tree{}
	return t, t.file(p.Path, 0o755, filepath.Join(b.bin, p.Binary))
}

func fileDigest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
