package links

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/fsnotify/fsnotify"
	"github.com/vishvananda/netlink"
)

// Watch sends to changed (which holds one) whenever an interface or address of the
// node or a namespace file in dirs comes or goes, until ctx ends. A directory that does
// not exist is not watched.
func Watch(ctx context.Context, changed chan<- struct{}, dirs ...string) error {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch network namespaces: %w", err)
	}
	defer files.Close()
	for _, dir := range dirs {
		if err := files.Add(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("watch network namespaces: %w", err)
		}
	}
	linkUpdates := make(chan netlink.LinkUpdate, 64)
	addrUpdates := make(chan netlink.AddrUpdate, 64)
	lost := make(chan error, 2)
	onError := func(err error) {
		select {
		case lost <- err:
		default:
		}
	}
	done := make(chan struct{})
	defer close(done)
	if err := netlink.LinkSubscribeWithOptions(linkUpdates, done, netlink.LinkSubscribeOptions{ErrorCallback: onError}); err != nil {
		return fmt.Errorf("subscribe to the node's interfaces: %w", err)
	}
	if err := netlink.AddrSubscribeWithOptions(addrUpdates, done, netlink.AddrSubscribeOptions{ErrorCallback: onError}); err != nil {
		return fmt.Errorf("subscribe to the node's addresses: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-lost:
			return fmt.Errorf("receive the node's interface changes: %w", err)
		case err := <-files.Errors:
			return fmt.Errorf("watch network namespaces: %w", err)
		case _, ok := <-linkUpdates:
			if !ok {
				return errors.New("receive the node's interface changes: closed")
			}
		case _, ok := <-addrUpdates:
			if !ok {
				return errors.New("receive the node's address changes: closed")
			}
		case <-files.Events:
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// HostAddrs returns all addresses of the node's own interfaces but loopback ones, sorted.
func (f *Finder) HostAddrs() ([]netip.Addr, error) {
	list, err := f.host.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list the node's addresses: %w", err)
	}
	var addrs []netip.Addr
	for _, a := range list {
		if addr, ok := netip.AddrFromSlice(a.IP); ok && !addr.IsLoopback() {
			addrs = append(addrs, addr.Unmap())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), nil
}
