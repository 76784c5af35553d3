// Package netns runs code and netlink requests in another network namespace.
//
// In: an open namespace file. Nothing here keeps a namespace alive longer than the
// caller's own file does.
package netns

import (
	"fmt"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// ID names a namespace while it exists: the device and inode of its nsfs file.
type ID struct{ Dev, Ino uint64 }

// Do calls fn on a thread of its own that is in the namespace ns, and waits for it.
// Goroutines that fn starts are not in the namespace.
func Do(ns *os.File, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// A thread that cannot be brought back stays locked and ends with the goroutine.
		runtime.LockOSThread()
		err, restored := run(ns, fn)
		if restored {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

func run(ns *os.File, fn func() error) (err error, restored bool) { //nolint:revive // the error belongs to fn, the bool to the thread
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("open own network namespace: %w", err), true
	}
	defer own.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", ns.Name(), err), true
	}
	err = fn()
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		return fmt.Errorf("leave network namespace %s: %w", ns.Name(), back), false
	}
	return err, true
}

// Handle returns a netlink handle whose sockets are in the namespace ns. The caller closes it.
func Handle(ns *os.File, families ...int) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(vnetns.NsHandle(ns.Fd()), families...)
	if err != nil {
		return nil, fmt.Errorf("open netlink in namespace %s: %w", ns.Name(), err)
	}
	return h, nil
}

// Identify returns the ID of an open namespace file; it fails for any other file.
func Identify(f *os.File) (ID, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &fs); err != nil {
		return ID{}, fmt.Errorf("stat file system of %s: %w", f.Name(), err)
	}
	if fs.Type != unix.NSFS_MAGIC {
		return ID{}, fmt.Errorf("%s is not a namespace", f.Name())
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return ID{}, fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	return ID{Dev: st.Dev, Ino: st.Ino}, nil
}

// Cookie returns the number by which the kernel's BPF helpers know the namespace.
func Cookie(ns *os.File) (cookie uint64, err error) {
	err = Do(ns, func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open socket: %w", err)
		}
		defer unix.Close(fd)
		cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
		if err != nil {
			return fmt.Errorf("read SO_NETNS_COOKIE: %w", err)
		}
		return nil
	})
	return cookie, err
}

// KernelHasIPv6 is false where IPv6 was left out of the kernel or turned off at its start: no
// namespace has sockets of that family then.
func KernelHasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}
