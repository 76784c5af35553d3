package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// backoffLimit is the longest wait before Envoy is started again.
const backoffLimit = time.Second

// goodRun is how long Envoy must have run for its next start to be at once.
const goodRun = 5 * time.Second

// Envoy is the process that the launcher keeps alive.
type Envoy struct {
	Path string
	Args []string
	// Ambient are the capabilities that Envoy gets although it is not root.
	Ambient []uintptr
	// StopTimeout is how long Envoy may take to end when ctx ends; then it is killed.
	StopTimeout time.Duration
	// Started and Ended are called for each process.
	Started func(pid int)
	Ended   func(pid int, status syscall.WaitStatus)
}

// Run starts Envoy, and again whenever it ends, until ctx ends; it is then asked to
// end, and waited for. Every child of this process is reaped, also those it did not
// start: in a container it is the first process.
func (e *Envoy) Run(ctx context.Context) error {
	// A child's parent-death signal belongs to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	backoff := time.Duration(0)
	for {
		begun := time.Now()
		pid, err := e.start()
		if err != nil {
			return err
		}
		e.Started(pid)
		status, err := e.wait(ctx, pid, children)
		if err != nil {
			return err
		}
		e.Ended(pid, status)
		if ctx.Err() != nil {
			return nil
		}
		if backoff = min(backoff*2+50*time.Millisecond, backoffLimit); time.Since(begun) > goodRun {
			backoff = 0
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(backoff):
		}
	}
}

func (e *Envoy) start() (int, error) {
	pid, err := syscall.ForkExec(e.Path, append([]string{e.Path}, e.Args...), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, 1, 2},
		Sys:   &syscall.SysProcAttr{AmbientCaps: e.Ambient, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return 0, fmt.Errorf("start %s: %w", e.Path, err)
	}
	return pid, nil
}

// wait returns how the process pid ended. When ctx ends it asks the process to end, and
// kills it when it takes too long.
func (e *Envoy) wait(ctx context.Context, pid int, children <-chan os.Signal) (syscall.WaitStatus, error) {
	var kill <-chan time.Time
	stop := ctx.Done()
	for {
		status, ended, err := reap(pid)
		if err != nil || ended {
			return status, err
		}
		select {
		case <-children:
		case <-time.After(time.Second): // a signal that came while one was waiting is not sent twice
		case <-stop:
			stop, kill = nil, time.After(e.StopTimeout)
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
				return status, fmt.Errorf("end Envoy: %w", err)
			}
		case <-kill:
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return status, fmt.Errorf("kill Envoy: %w", err)
			}
		}
	}
}

// reap collects every child that has ended, and says whether pid was one.
func reap(pid int) (status syscall.WaitStatus, ended bool, err error) {
	for {
		var ws syscall.WaitStatus
		got, err := syscall.Wait4(-1, &ws, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.ECHILD) && !ended:
			return ws, false, fmt.Errorf("wait for Envoy: %w", err)
		case err != nil || got == 0:
			return status, ended, nil
		case got == pid:
			status, ended = ws, true
		}
	}
}
