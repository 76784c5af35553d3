// Command image packs files into an image archive without a container engine:
//
//	image -tag septum-pause:1 -entrypoint /pause -o pause.tar build/pause:/pause
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	tag := flag.String("tag", "", "name and tag of the image")
	entrypoint := flag.String("entrypoint", "", "program that the image runs")
	user := flag.String("user", "", "uid[:gid] that it runs as")
	out := flag.String("o", "", "archive to write")
	flag.Parse()
	if err := run(*tag, *entrypoint, *user, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

// run writes the archive out with one layer that holds files, each "source:target".
func run(tag, entrypoint, user, out string, files []string) error {
	ref, err := name.NewTag(tag)
	if err != nil {
		return fmt.Errorf("read -tag: %w", err)
	}
	layerTar, err := layerOf(files)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layerTar)), nil
	})
	if err != nil {
		return fmt.Errorf("make the layer: %w", err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("add the layer: %w", err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		return fmt.Errorf("read the image's configuration: %w", err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config.Entrypoint = []string{entrypoint}
	config.Config.User = user
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return fmt.Errorf("set the image's configuration: %w", err)
	}
	if err := tarball.WriteToFile(out, ref, image); err != nil {
		return fmt.Errorf("write %s: %w", out, err)
	}
	return nil
}

// layerOf returns the tar of files with their directories, the same bytes for the same input.
func layerOf(files []string) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	slices.Sort(files)
	made := map[string]bool{".": true}
	for _, file := range files {
		source, target, ok := strings.Cut(file, ":")
		if !ok {
			return nil, fmt.Errorf("file %q: use SOURCE:TARGET", file)
		}
		if err := add(writer, made, source, strings.TrimPrefix(path.Clean(target), "/")); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("end the layer: %w", err)
	}
	return buffer.Bytes(), nil
}

// add writes one file, after those of its directories that are not in made yet.
func add(writer *tar.Writer, made map[string]bool, source, target string) error {
	var parents []string
	for dir := path.Dir(target); !made[dir]; dir = path.Dir(dir) {
		made[dir] = true
		parents = append(parents, dir)
	}
	slices.Reverse(parents)
	for _, dir := range parents {
		header := &tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, Format: tar.FormatPAX}
		if err := writer.WriteHeader(header); err != nil {
			return fmt.Errorf("add directory %s: %w", dir, err)
		}
	}
	content, err := os.ReadFile(source)
	if err != nil {
		return fmt.Errorf("read file of the image: %w", err)
	}
	info, err := os.Stat(source)
	if err != nil {
		return fmt.Errorf("read file of the image: %w", err)
	}
	header := &tar.Header{Name: target, Mode: int64(info.Mode().Perm()), Size: int64(len(content)), Format: tar.FormatPAX}
	if err := writer.WriteHeader(header); err != nil {
		return fmt.Errorf("add %s: %w", target, err)
	}
	if _, err := writer.Write(content); err != nil {
		return fmt.Errorf("add %s: %w", target, err)
	}
	return nil
}
