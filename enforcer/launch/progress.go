package launch

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Progress is what the kernel says of a process at one moment.
type Progress struct {
	// State is that of the thread that tells most: T (stopped), R (runnable), D (in the kernel,
	// as while it is read from disk), or S (asleep).
	State byte
	// Used is the processor time that it has had, Waited how long it has been runnable without.
	Used, Waited time.Duration
}

// MainThread looks at a process of which only the first thread can give a sign of life, as Envoy.
func MainThread(pid int) (Progress, error) {
	return thread(fmt.Sprintf("/proc/%d/task/%d", pid, pid))
}

// AnyThread looks at a process of which every thread can, as one in Go.
func AnyThread(pid int) (Progress, error) {
	dirs, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || len(dirs) == 0 {
		return Progress{}, fmt.Errorf("list threads of process %d: %w", pid, os.ErrNotExist)
	}
	all := Progress{State: 'S'}
	for _, dir := range dirs {
		p, err := thread(dir)
		if err != nil {
			continue // it has ended
		}
		all.Used, all.Waited = all.Used+p.Used, all.Waited+p.Waited
		if tells(p.State) > tells(all.State) {
			all.State = p.State
		}
	}
	return all, nil
}

// tells orders states by how much the state of one thread says of the process.
func tells(state byte) int { return strings.IndexByte("SDRT", state) }

// clockTick is the unit of processor time in /proc/…/stat, USER_HZ.
const clockTick = 10 * time.Millisecond

// thread reads a directory below /proc/PID/task.
func thread(dir string) (Progress, error) {
	text, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return Progress{}, fmt.Errorf("read the state of a thread: %w", err)
	}
	// The name, in parentheses, may hold anything. After it: the state is field 3, user and
	// system time are 14 and 15.
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return Progress{}, fmt.Errorf("read the state of a thread: %s/stat has %d fields", dir, len(fields))
	}
	user, errUser := strconv.ParseInt(string(fields[11]), 10, 64)
	system, errSystem := strconv.ParseInt(string(fields[12]), 10, 64)
	if errUser != nil || errSystem != nil {
		return Progress{}, fmt.Errorf("read the state of a thread: %s/stat has no times", dir)
	}
	p := Progress{State: fields[0][0], Used: time.Duration(user+system) * clockTick}
	// Finer, and what the thread waited for; a kernel may be without, and says 0 then.
	var used, waited int64
	if text, err := os.ReadFile(dir + "/schedstat"); err == nil {
		if n, err := fmt.Sscan(string(text), &used, &waited); err == nil && n == 2 && used > 0 {
			p.Used, p.Waited = time.Duration(used), time.Duration(waited)
		}
	}
	return p, nil
}
