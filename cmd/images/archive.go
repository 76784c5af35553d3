package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// formatVersion is changed when the same input begins to give another archive.
const formatVersion = "2"

// build writes the image's archive, unless one of the same input is there.
func (b *builder) build(img Image) error {
	start := time.Now()
	inputs, err := b.inputs(img)
	if err != nil {
		return err
	}
	archive, stamp := b.archive(img), b.archive(img)+".inputs"
	if same(archive, stamp, inputs) {
		fmt.Printf("%-16s unchanged\n", img.Name)
		return nil
	}
	built, closeLayers, err := b.assemble(img)
	if err != nil {
		return err
	}
	defer closeLayers()
	ref, err := name.NewTag(img.Name + ":" + b.tag)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(archive+".new", ref, built); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	if err := os.Rename(archive+".new", archive); err != nil {
		return err
	}
	info, err := os.Stat(archive)
	if err != nil {
		return err
	}
	fmt.Printf("%-16s %s, %.1f MB, %.1f s\n", img.Name, archive, float64(info.Size())/1e6, time.Since(start).Seconds())
	return os.WriteFile(stamp, []byte(inputs), 0o644)
}

func (b *builder) archive(img Image) string {
	return filepath.Join(b.out, img.Name+".tar")
}

// inputs is a digest of everything that the image is made of.
func (b *builder) inputs(img Image) (string, error) {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return "", err
	}
	config, err := json.Marshal(img.Config)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, formatVersion, b.tag, img.Name, img.Title, runtime.GOARCH, string(config))
	for _, p := range img.Parts {
		digest, err := p.prepare(b)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%T %+v %s\n", p, p, digest)
	}
	return fmt.Sprintf("%x\n", h.Sum(nil)), nil
}

func same(archive, stamp, inputs string) bool {
	old, err := os.ReadFile(stamp)
	if err != nil || string(old) != inputs {
		return false
	}
	_, err = os.Stat(archive)
	return err == nil
}

// assemble makes the image; its layers are files that the returned function removes.
func (b *builder) assemble(img Image) (v1.Image, func(), error) {
	dir, err := os.MkdirTemp(b.out, img.Name+"-")
	if err != nil {
		return nil, nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	built, err := b.assembleIn(dir, img)
	if err != nil {
		remove()
		return nil, nil, err
	}
	return built, remove, nil
}

func (b *builder) assembleIn(dir string, img Image) (v1.Image, error) {
	var layers []v1.Layer
	for i, p := range img.Parts {
		files, err := p.files(b)
		if err != nil {
			return nil, err
		}
		layer, err := layerOf(filepath.Join(dir, fmt.Sprint(i)), files)
		if err != nil {
			return nil, fmt.Errorf("make layer %d: %w", i, err)
		}
		layers = append(layers, layer)
	}
	built, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Config = img.Config
	file.Config.Labels = map[string]string{
		"org.opencontainers.image.title":       img.Name,
		"org.opencontainers.image.description": img.Title,
		"org.opencontainers.image.version":     b.tag,
		"org.opencontainers.image.source":      "https://github.com/septum-dev/septum",
	}
	return mutate.ConfigFile(built, file)
}

func layerOf(name string, files tree) (v1.Layer, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := files.write(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return os.Open(name) }
	// Level 1: the archives are for this machine first, and compressing 100 MB well takes longer than it saves.
	return tarball.LayerFromOpener(open, tarball.WithCompressionLevel(1))
}

// push copies the archive to a registry, with the credentials of the user's docker configuration.
func (b *builder) push(img Image, registry string) error {
	ref, err := name.NewTag(registry + "/" + img.Name + ":" + b.tag)
	if err != nil {
		return err
	}
	built, err := tarball.ImageFromPath(b.archive(img), nil)
	if err != nil {
		return err
	}
	if err := remote.Write(ref, built, remote.WithContext(b.ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err
	}
	digest, err := built.Digest()
	if err != nil {
		return err
	}
	fmt.Printf("%-16s pushed %s@%s\n", img.Name, ref, digest)
	return nil
}
