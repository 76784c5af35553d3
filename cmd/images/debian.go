package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// debian is Debian packages with all that they depend on, unpacked as dpkg would, but
// without their maintainer scripts.
type debian struct {
	Packages []string
	// Keep says which paths of the packages are taken; nil takes all but documentation.
	Keep func(path string) bool `json:"-"`
}

// Format keeps the function out of the digest of an image's input.
func (d debian) String() string { return strings.Join(d.Packages, " ") }

func (d debian) dir(b *builder) string {
	key := sha256.Sum256([]byte(d.String()))
	return filepath.Join(b.cache, "debian", hex.EncodeToString(key[:8]))
}

// prepare downloads the packages once: apt finds the closure as if nothing were
// installed, and checks the packages against its signed lists.
func (d debian) prepare(b *builder) (string, error) {
	dir := d.dir(b)
	done := filepath.Join(dir, "complete")
	if _, err := os.Stat(done); err != nil {
		if err := d.download(b, dir); err != nil {
			return "", fmt.Errorf("download Debian packages %s: %w", d, err)
		}
		if err := os.WriteFile(done, nil, 0o644); err != nil {
			return "", err
		}
	}
	debs, err := d.debs(b)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	for _, deb := range debs {
		digest, err := fileDigest(deb)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(h, digest)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func (d debian) download(b *builder, dir string) error {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return errors.New("apt-get is needed: this image can be built on Debian and its derivatives only")
	}
	if err := os.MkdirAll(filepath.Join(dir, "partial"), 0o755); err != nil {
		return err
	}
	args := []string{
		"install", "--download-only", "--yes", "-qq", "--no-install-recommends",
		"-o", "Dir::State::status=/dev/null",
		"-o", "Dir::Cache::archives=" + dir + "/",
		"-o", "Debug::NoLocking=1",
		"-o", "APT::Sandbox::User=root",
	}
	cmd := exec.CommandContext(b.ctx, "apt-get", append(args, d.Packages...)...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get install --download-only (are apt's lists there? try apt-get update): %w", err)
	}
	return nil
}

// debs are the downloaded packages, sorted by name.
func (d debian) debs(b *builder) ([]string, error) {
	debs, err := filepath.Glob(filepath.Join(d.dir(b), "*.deb"))
	if err != nil {
		return nil, err
	}
	if len(debs) == 0 {
		return nil, fmt.Errorf("no packages in %s: remove it and try again", d.dir(b))
	}
	slices.Sort(debs)
	return debs, nil
}

func (d debian) files(b *builder) (tree, error) {
	debs, err := d.debs(b)
	if err != nil {
		return nil, err
	}
	t := tree{}
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		t.dir("usr/"+dir, 0o755)
		t.symlink(dir, "usr/"+dir)
	}
	for _, deb := range debs {
		if err := d.unpack(b, deb, t); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", filepath.Base(deb), err)
		}
	}
	certificates(t)
	alternatives(t)
	java(t)
	return t, nil
}

// unpack adds a package's files to the tree.
func (d debian) unpack(b *builder, deb string, t tree) error {
	cmd := exec.CommandContext(b.ctx, "dpkg-deb", "--fsys-tarfile", deb)
	cmd.Stderr = os.Stderr
	data, err := cmd.Output()
	if err != nil {
		return err
	}
	r := tar.NewReader(bytes.NewReader(data))
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		d.add(t, header, content)
	}
}

// add adds one file; in a merged /usr, /bin and its like are links into /usr.
func (d debian) add(t tree, header *tar.Header, content []byte) {
	name := merged(clean(header.Name))
	keep := d.Keep
	if keep == nil {
		keep = notDocumentation
	}
	if name == "" || !keep(name) {
		return
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if _, ok := t[name]; !ok {
			t.dir(name, header.Mode)
		}
	case tar.TypeReg:
		t.bytes(name, header.Mode, content)
	case tar.TypeSymlink:
		t.symlink(name, header.Linkname)
	case tar.TypeLink:
		if target, ok := t[merged(clean(header.Linkname))]; ok {
			t[name] = target
		}
	}
}

func merged(name string) string {
	top, _, _ := strings.Cut(name, "/")
	if slices.Contains([]string{"bin", "sbin", "lib", "lib64"}, top) {
		return "usr/" + name
	}
	return name
}

// notDocumentation leaves out what nobody reads in a container; licences stay.
func notDocumentation(name string) bool {
	if strings.HasPrefix(name, "usr/share/doc/") {
		return strings.HasSuffix(name, "/copyright")
	}
	for _, dir := range []string{"usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "var/cache", "var/lib/dpkg"} {
		if name == dir || strings.HasPrefix(name, dir+"/") {
			return false
		}
	}
	return true
}
