package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/go-logr/logr"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/enforcer/proxyns"
)

// clean removes everything that an enforcer leaves on the node.
func clean(log logr.Logger, o options) error {
	err := errors.Join(
		removePlugin(o.cni), // first: a list that names a plugin that is gone starts no pod
		bpf.Remove(bpf.Config{PinPath: o.pins, CgroupRoot: o.cgroup}),
		proxyns.Remove(),
		empty(o.run), empty(filepath.Dir(o.cni.socket)), empty(o.state), gone(o.flowSocket),
	)
	if err != nil {
		return fmt.Errorf("clean the node: %w", err)
	}
	log.Info("the node is clean")
	return nil
}

// gone removes a file, if it is there.
func gone(path string) error {
	if err := os.Remove(path); path != "" && err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// empty removes what is in dir, and dir itself unless it is a mount point.
func empty(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove %s: %w", e.Name(), err)
		}
	}
	os.Remove(dir) // a mount point stays
	return nil
}
