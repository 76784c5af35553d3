package proxyns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
)

// sysctl is one value under /proc/sys/net. An optional one may not exist (IPv6 off).
type sysctl struct {
	path, value string
	optional    bool
}

func sysctls() []sysctl {
	out := []sysctl{
		// Policed packets come in with any source.
		{path: "ipv4/conf/all/rp_filter", value: "0"},
		// Every port of these can be both a client's and the proxy's own.
		{path: "ipv4/ip_local_port_range", value: "10240\t32767"},
		// Answers of DNS servers come from port 53; the proxy may bind it without a capability more.
		{path: "ipv4/ip_unprivileged_port_start", value: "0"},
		// A reset from no socket takes the leg of what it answers, which is the packet's mark.
		{path: "ipv4/fwmark_reflect", value: "1"},
		{path: "ipv6/fwmark_reflect", value: "1", optional: true},
		// Some CNIs turn IPv6 off in pods, also where other pods have it.
		{path: "ipv6/conf/lo/disable_ipv6", value: "0", optional: true},
	}
	for leg := 1; leg <= Legs; leg++ {
		name := ProxyName(leg)
		out = append(out,
			sysctl{path: "ipv4/conf/" + name + "/rp_filter", value: "0"},
			sysctl{path: "ipv6/conf/" + name + "/accept_ra", value: "0", optional: true},
			sysctl{path: "ipv6/conf/" + name + "/disable_ipv6", value: "0", optional: true})
	}
	return out
}

// applySysctls writes the values that are not right yet. /proc/sys/net shows the
// namespace of the task that opens a file in it, so any proc file system will do; a
// container's own /proc/sys is read-only, though, and then one is mounted for us alone,
// in no place (which takes CAP_SYS_ADMIN, as entering the namespace does).
func applySysctls(ns *os.File, procSys []string) error {
	roots := append([]string{"/proc/sys"}, procSys...)
	return netns.Do(ns, func() error {
		for _, s := range sysctls() {
			if err := s.apply(roots); err != nil {
				return fmt.Errorf("set net/%s to %q in the proxy's namespace: %w", s.path, s.value, err)
			}
		}
		return nil
	})
}

func (s sysctl) apply(roots []string) error {
	var errs []error
	for _, root := range roots {
		path := filepath.Join(root, "net", s.path)
		now, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) && s.optional {
			return nil
		}
		if err == nil && strings.TrimSpace(string(now)) == s.value {
			return nil
		}
		if err == nil {
			err = os.WriteFile(path, []byte(s.value), 0)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	if err := s.applyDetached(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	return nil
}

func (s sysctl) applyDetached() error {
	context, err := unix.Fsopen("proc", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open a proc file system: %w", err)
	}
	defer unix.Close(context)
	if err := unix.FsconfigCreate(context); err != nil {
		return fmt.Errorf("create a proc file system: %w", err)
	}
	root, err := unix.Fsmount(context, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount a proc file system: %w", err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, "sys/net/"+s.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open sys/net/%s: %w", s.path, err)
	}
	file := os.NewFile(uintptr(fd), s.path)
	defer file.Close()
	if _, err := file.WriteString(s.value); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	return nil
}
