// Command images builds Septum's container images without a container engine.
//
// In: the repository's Go programs, the stock Envoy binary and Debian packages.
// Out: one docker-archive for each image (loadable by "ctr -n k8s.io images import" and by
// "docker load"), or, with -push, the same images in a registry. The same input gives the
// same bytes: entries are sorted and have no times.
//
//	go run ./cmd/images -out build/images [-only name,...] [-tag dev] [-push REGISTRY]
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	cache, err := cacheDir()
	if err != nil {
		return err
	}
	out := flag.String("out", "build/images", "directory for the archives")
	bin := flag.String("bin", "build/bin", "directory for the Go programs")
	only := flag.String("only", "", "comma-separated names of the images to build (default: all but septum-kafka)")
	tag := flag.String("tag", "dev", "tag of the images")
	push := flag.String("push", "", "registry and path to push the images to, such as registry.example/septum")
	list := flag.Bool("list", false, "print the names of the images and exit")
	flag.Parse()

	all := images()
	if *list {
		for _, img := range all {
			fmt.Println(img.Name)
		}
		return nil
	}
	chosen, err := choose(all, *only)
	if err != nil {
		return err
	}
	b := builder{ctx: ctx, cache: cache, bin: *bin, out: *out, tag: *tag}
	for _, img := range chosen {
		if err := b.build(img); err != nil {
			return fmt.Errorf("build image %s: %w", img.Name, err)
		}
		if *push == "" {
			continue
		}
		if err := b.push(img, *push); err != nil {
			return fmt.Errorf("push image %s: %w", img.Name, err)
		}
	}
	return nil
}

// choose keeps the images that the comma-separated names say, or all that are not apart.
func choose(all []Image, names string) ([]Image, error) {
	if names == "" {
		return slices.DeleteFunc(all, func(img Image) bool { return img.Apart }), nil
	}
	var chosen []Image
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(img Image) bool { return img.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no image %q; -list prints the names", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// cacheDir holds what is fetched: it outlives the work tree's build directory.
func cacheDir() (string, error) {
	if dir := os.Getenv("SEPTUM_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the cache directory: %w", err)
	}
	return filepath.Join(home, ".cache", "septum"), nil
}
