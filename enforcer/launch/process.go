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

// backoffLimit is the longest wait before a process is started again.
const backoffLimit = time.Second

// goodRun is how long a process must have run for its next start to be at once.
const goodRun = 5 * time.Second

// Process is a program that the launcher keeps alive: Envoy, or Septum's own proxy.
type Process struct {
	Path string
	Args []string
	// Ambient are the capabilities that it gets although it is not root.
	Ambient []uintptr
	// StopTimeout is how long it may take to end when ctx ends; then it is killed.
	StopTimeout time.Duration
	// Inherit, if set, gives each process its descriptor 3.
	Inherit func() (*os.File, error)
	// Started and Ended are called for each process.
	Started func(pid int)
	Ended   func(pid int, status syscall.WaitStatus)

	// pid is 0 while none runs.
	pid     int
	begun   time.Time
	backoff time.Duration
	// due is when it is to be started, or killed where it was asked to end.
	due time.Time
}

// Run starts the processes, and each again whenever it ends, until ctx ends; they are then
// asked to end, and waited for. Every child of this process is reaped, also those it did
// not start: in a container it is the first process.
func Run(ctx context.Context, processes ...*Process) error {
	// A child's parent-death signal belongs to the thread that made it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	done, stopping := ctx.Done(), false
	for {
		// A signal that comes while one waits is not sent twice: once a second is looked anyway.
		wait := time.Second
		now, running := time.Now(), false
		for _, p := range processes {
			if err := p.step(now, stopping); err != nil {
				return err
			}
			running = running || p.pid != 0
			if p.pid == 0 || stopping {
				wait = min(wait, max(time.Until(p.due), 0))
			}
		}
		if stopping && !running {
			return nil
		}
		select {
		case <-children:
		case <-time.After(wait):
		case <-done:
			done, stopping = nil, true
			for _, p := range processes {
				if err := p.ask(); err != nil {
					return err
				}
			}
		}
		if err := reap(processes); err != nil {
			return err
		}
	}
}

// step starts the process if it is due, or kills it if it took too long to end.
func (p *Process) step(now time.Time, stopping bool) error {
	switch {
	case now.Before(p.due):
	case p.pid == 0 && !stopping:
		return p.start()
	case p.pid != 0 && stopping:
		if err := syscall.Kill(p.pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill %s: %w", p.Path, err)
		}
		p.due = now.Add(time.Second)
	}
	return nil
}

func (p *Process) start() error {
	files := []uintptr{0, 1, 2}
	if p.Inherit != nil {
		f, err := p.Inherit()
		if err != nil {
			return fmt.Errorf("start %s: %w", p.Path, err)
		}
		defer f.Close()
		files = append(files, f.Fd())
	}
	pid, err := syscall.ForkExec(p.Path, append([]string{p.Path}, p.Args...), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{AmbientCaps: p.Ambient, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", p.Path, err)
	}
	p.pid, p.begun = pid, time.Now()
	p.Started(pid)
	return nil
}

// ask tells the process to end.
func (p *Process) ask() error {
	if p.pid == 0 {
		return nil
	}
	p.due = time.Now().Add(p.StopTimeout)
	if err := syscall.Kill(p.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("end %s: %w", p.Path, err)
	}
	return nil
}

func (p *Process) ended(status syscall.WaitStatus) {
	pid := p.pid
	p.pid = 0
	if p.backoff = min(p.backoff*2+50*time.Millisecond, backoffLimit); time.Since(p.begun) > goodRun {
		p.backoff = 0
	}
	p.due = time.Now().Add(p.backoff)
	p.Ended(pid, status)
}

// reap collects every child that has ended.
func reap(processes []*Process) error {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, unix.WNOHANG, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.ECHILD) || err == nil && pid == 0:
			return nil
		case err != nil:
			return fmt.Errorf("wait for children: %w", err)
		}
		for _, p := range processes {
			if p.pid == pid {
				p.ended(status)
			}
		}
	}
}

// EndWithParent has this process killed when the thread that made it ends. The kernel
// forgets the parent's wish for a program that has file capabilities.
func EndWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("ask to end with the parent: %w", err)
	}
	return nil
}
