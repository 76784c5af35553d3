package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/septum-dev/septum/enforcer/launch"
	"github.com/septum-dev/septum/xds/envoy"
)

// sockets are what the proxy pod connects to.
type sockets struct{ xds, launch, proxy *net.UnixListener }

// listen makes the run directory, Envoy's bootstrap and the sockets in it. All of it is
// for the proxy's group only.
func listen(o options) (sockets, error) {
	admin := filepath.Dir(o.adminSocket())
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{{o.run, 0o750}, {admin, 0o770}} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return sockets{}, fmt.Errorf("make directory for the proxy: %w", err)
		}
		if err := give(dir.path, o.proxyID, dir.mode); err != nil {
			return sockets{}, err
		}
	}
	bootstrap, err := envoy.Bootstrap(envoy.BootstrapConfig{
		Node: o.node, XDSSocket: o.socket("xds.sock"), AdminSocket: o.adminSocket(), MaxHeapBytes: o.maxHeap, MaxConnections: o.maxConnections,
	})
	if err != nil {
		return sockets{}, err
	}
	file := o.socket("envoy.json")
	if err := os.WriteFile(file+".new", bootstrap, 0o600); err != nil {
		return sockets{}, fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	if err := give(file+".new", o.proxyID, 0o640); err != nil {
		return sockets{}, err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return sockets{}, fmt.Errorf("write Envoy's bootstrap: %w", err)
	}
	var s sockets
	if s.xds, err = launch.Listen(o.socket("xds.sock"), o.proxyID); err != nil {
		return sockets{}, err
	}
	if s.launch, err = launch.Listen(o.socket("launch.sock"), o.proxyID); err != nil {
		return sockets{}, errors.Join(err, s.xds.Close())
	}
	if s.proxy, err = launch.Listen(o.socket(launch.ProxySocket), o.proxyID); err != nil {
		return sockets{}, errors.Join(err, s.xds.Close(), s.launch.Close())
	}
	return s, nil
}

// adminSocket is where Envoy makes its own, in a directory that it may write to.
func (o options) adminSocket() string { return filepath.Join(o.socket("admin"), "admin.sock") }

// give lets the group have path with the mode.
func give(path string, gid int, mode os.FileMode) error {
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, mode)); err != nil {
		return fmt.Errorf("give %s to group %d, which has to be one of this process's: %w", path, gid, err)
	}
	return nil
}
