package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// tree is the files of one layer by their path, which has no leading slash.
type tree map[string]entry

// entry is one file, directory or link of a tree.
type entry struct {
	Mode     int64
	Typeflag byte
	// Linkname is the target of a symbolic link.
	Linkname string
	UID, GID int
	Size     int64
	// open reads a regular file.
	open func() (io.ReadCloser, error)
}

func (t tree) dir(name string, mode int64) {
	t[clean(name)] = entry{Typeflag: tar.TypeDir, Mode: mode}
}

func (t tree) symlink(name, target string) {
	t[clean(name)] = entry{Typeflag: tar.TypeSymlink, Mode: 0o777, Linkname: target}
}

func (t tree) bytes(name string, mode int64, content []byte) {
	t[clean(name)] = entry{
		Typeflag: tar.TypeReg, Mode: mode, Size: int64(len(content)),
		open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
	}
}

func (t tree) file(name string, mode int64, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	t[clean(name)] = entry{
		Typeflag: tar.TypeReg, Mode: mode, Size: info.Size(),
		open: func() (io.ReadCloser, error) { return os.Open(source) },
	}
	return nil
}

func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

// write writes the tree as a tar: parents first, sorted, without times and user names.
func (t tree) write(w io.Writer) error {
	full := maps.Clone(t)
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, ok := full[dir]; !ok {
				full[dir] = entry{Typeflag: tar.TypeDir, Mode: 0o755}
			}
		}
	}
	tw := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(full)) {
		if err := full[name].write(tw, name); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return tw.Close()
}

func (e entry) write(tw *tar.Writer, name string) error {
	if e.Typeflag == tar.TypeDir {
		name += "/"
	}
	header := &tar.Header{
		Format: tar.FormatPAX, Typeflag: e.Typeflag, Name: name, Linkname: e.Linkname,
		Mode: e.Mode, Uid: e.UID, Gid: e.GID, Size: e.Size,
	}
	if err := tw.WriteHeader(header); err != nil {
		return err
	}
	if e.Typeflag != tar.TypeReg {
		return nil
	}
	r, err := e.open()
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(tw, r)
	return err
}
