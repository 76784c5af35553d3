package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What a process is seen to do, twice a second, and when it is killed for it.
func TestWatch(t *testing.T) {
	const tick = watchInterval
	type phase struct {
		looks  int
		state  byte
		used   time.Duration // at each look
		waited time.Duration
		// answers says that it gives a sign of life at each look.
		answers bool
	}
	heard := phase{looks: 2, state: 'S', used: time.Millisecond, answers: true}
	for _, c := range []struct {
		name   string
		phases []phase
		// want is why it is killed, and at which look since the last that it answered; nil: not.
		want error
		at   int
	}{
		{"one that sleeps and answers", []phase{{looks: 1000, state: 'S', used: time.Millisecond, answers: true}}, nil, 0},
		{"one that is stopped", []phase{heard, {looks: 100, state: 'T'}}, errStopped, 3},
		{"one that is stopped before its first sign", []phase{{looks: 100, state: 'T'}}, errStopped, 3},
		{"one that is stopped for moments", []phase{heard, {looks: 2, state: 'T'}, {looks: 1, state: 'R', used: tick}, {looks: 2, state: 'T'}, heard}, nil, 0},
		{"a deadlock", []phase{heard, {looks: 100, state: 'S'}}, errStill, 10},
		{"one that has something else to do", []phase{heard, {looks: 100, state: 'R', used: tick}}, errSilent, 30},
		{"the same, with half a processor", []phase{heard, {looks: 100, state: 'R', used: tick / 2, waited: tick / 2}}, errSilent, 60},
		{"one that takes long, but not too long", []phase{heard, {looks: 28, state: 'R', used: tick}, heard}, nil, 0},
		{"one that has to do before its first sign", []phase{{looks: 118, state: 'R', used: tick}, heard}, nil, 0},
		{"the same, for ever", []phase{{looks: 1000, state: 'R', used: tick}}, errSilent, 121},
		{"one that gets no processor", []phase{heard, {looks: 1000, state: 'R'}, heard}, nil, 0},
		{"one that gets a hundredth of one", []phase{heard, {looks: 1000, state: 'R', used: tick / 100, waited: tick}, heard}, nil, 0},
		{"one that is seen asleep, and has waited", []phase{heard, {looks: 1000, state: 'S', used: time.Millisecond, waited: tick}, heard}, nil, 0},
		{"one that waits for a disk", []phase{heard, {looks: 1000, state: 'D'}, heard}, nil, 0},
		{"one that a debugger holds", []phase{heard, {looks: 100, state: 't'}}, errSilent, 30},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p Progress
			var killed error
			w := &Watch{
				Look:  func(int) (Progress, error) { return p, nil },
				Hangs: func(_ int, err error) { killed = err },
			}
			const nobody = 1 << 30 // no process has this number
			w.Started(nobody)
			at, now := 0, time.Now()
			for _, ph := range c.phases {
				for range ph.looks {
					now, at = now.Add(tick), at+1
					p = Progress{State: ph.state, Used: p.Used + ph.used, Waited: p.Waited + ph.waited}
					w.look(now)
					if killed != nil {
						break
					}
					if ph.answers {
						w.answered(nobody, nil)
						at = 0
					}
				}
			}
			if !errors.Is(killed, c.want) || c.want != nil && at != c.at {
				t.Errorf("killed: %v, at look %d; want %v at look %d", killed, at, c.want, c.at)
			}
		})
	}
}

// The answer of a process that has been replaced is none of the next one's.
func TestWatchOfAnother(t *testing.T) {
	w := &Watch{Look: func(int) (Progress, error) { return Progress{State: 'S'}, nil }, Hangs: func(int, error) {}}
	w.Started(1 << 30)
	w.Started(1<<30 + 1)
	if w.answered(1<<30, nil); w.heard {
		t.Error("heard of one that is gone")
	}
	w.Ended()
	if pid := w.look(time.Now()); pid != 0 {
		t.Errorf("looks at %d, which has ended", pid)
	}
}

// watchedChild runs this program's other role, "busy", under a watch with short limits: it gives
// signs of life over its lifeline.
type watchedChild struct {
	pid     int
	started chan int
	killed  chan error
	answers atomic.Int64
}

func watchChild(t *testing.T, l limits) *watchedChild {
	t.Helper()
	c := &watchedChild{started: make(chan int, 8), killed: make(chan error, 8)}
	line := &Lifeline{}
	w := &Watch{Look: AnyThread, limits: l, Hangs: func(_ int, err error) { c.killed <- err },
		Alive: func(ctx context.Context) error {
			err := line.Alive(ctx)
			if err == nil {
				c.answers.Add(1)
			}
			return err
		}}
	t.Setenv("SEPTUM_TEST_ROLE", "busy")
	p := &Process{Path: "/proc/self/exe", Inherit: line.Inherit, StopTimeout: time.Second,
		Started: func(pid int) { w.Started(pid); c.started <- pid },
		Ended:   func(int, syscall.WaitStatus) { w.Ended() },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.Run(ctx) })
	wg.Go(func() {
		if err := Run(ctx, p); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	c.pid = wait(t, c.started)
	c.alive(t)
	return c
}

// alive waits for signs of life that begin from now on.
func (c *watchedChild) alive(t *testing.T) {
	t.Helper()
	before := c.answers.Load()
	for end := time.Now().Add(30 * time.Second); c.answers.Load() < before+2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no sign of life")
		}
	}
}

// A process that is stopped is found to be, and replaced.
func TestStoppedProcess(t *testing.T) {
	c := watchChild(t, limits{})
	if err := syscall.Kill(c.pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if err := wait(t, c.killed); !errors.Is(err, errStopped) {
		t.Errorf("killed, as %v", err)
	}
	if next := wait(t, c.started); next == c.pid {
		t.Error("the same process")
	}
	c.alive(t)
}

// A process that others keep from the processor for longer than one may be silent is none that hangs.
func TestStarvedProcess(t *testing.T) {
	c := watchChild(t, limits{stopped: time.Minute, still: 1500 * time.Millisecond, silent: 1500 * time.Millisecond, starting: time.Minute, look: 2 * watchInterval})
	// Everything of it on one processor, and only when nobody else wants that; two others want it.
	var one unix.CPUSet
	one.Set(firstProcessor(t))
	idle := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", c.pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		var tid int
		if _, err := fmt.Sscan(task.Name(), &tid); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.SchedSetaffinity(tid, &one), unix.SchedSetAttr(tid, &idle, 0)); err != nil {
			t.Fatal(err)
		}
	}
	stop := hog(t, &one, 2)
	longest, last, seen := time.Duration(0), time.Now(), c.answers.Load()
	for end := time.Now().Add(15 * time.Second); time.Now().Before(end) && longest < 3*time.Second; time.Sleep(20 * time.Millisecond) {
		if n := c.answers.Load(); n != seen {
			seen, last = n, time.Now()
		}
		longest = max(longest, time.Since(last))
	}
	stop()
	t.Logf("silent for %v", longest)
	if longest < 2*time.Second {
		t.Errorf("silent for %v: it was not starved", longest)
	}
	select {
	case err := <-c.killed:
		t.Fatalf("killed, as %v, after it had been silent for %v", err, longest)
	default:
	}
	c.alive(t)
	if len(c.started) != 0 {
		t.Error("started anew")
	}
}

// firstProcessor is one that this process may use.
func firstProcessor(t *testing.T) int {
	t.Helper()
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			return cpu
		}
	}
	t.Fatal("no processor")
	return 0
}

// hog keeps a processor busy with n processes until stop is called.
func hog(t *testing.T, on *unix.CPUSet, n int) (stop func()) {
	t.Helper()
	var all []*exec.Cmd
	stop = sync.OnceFunc(func() {
		for _, cmd := range all {
			cmd.Process.Kill() //nolint:errcheck // it may have ended
			cmd.Wait()         //nolint:errcheck // it was killed
		}
	})
	t.Cleanup(stop)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.Env = []string{}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		all = append(all, cmd)
		// They want it in earnest even where the tests run as the nicest of all.
		if err := errors.Join(unix.SchedSetaffinity(cmd.Process.Pid, on), unix.Setpriority(unix.PRIO_PROCESS, cmd.Process.Pid, 0)); err != nil {
			t.Fatal(err)
		}
	}
	return stop
}

// What the kernel says of this test's own children.
func TestProgress(t *testing.T) {
	start := func(script string) int {
		cmd := exec.Command("/bin/sh", "-c", script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() }) //nolint:errcheck // it is killed
		return cmd.Process.Pid
	}
	become := func(what string, pid int, good func(Progress) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			for name, look := range map[string]func(int) (Progress, error){"MainThread": MainThread, "AnyThread": AnyThread} {
				p, err := look(pid)
				if err == nil && !good(p) && time.Now().After(end) {
					t.Fatalf("%s: %s says %+v", what, name, p)
				}
				if err != nil {
					t.Fatalf("%s: %s: %v", what, name, err)
				}
			}
			first, errFirst := MainThread(pid)
			all, errAll := AnyThread(pid)
			if errors.Join(errFirst, errAll) == nil && good(first) && good(all) {
				return
			}
		}
	}
	asleep := start("exec sleep 60")
	become("asleep", asleep, func(p Progress) bool { return p.State == 'S' && p.Used > 0 })
	if err := syscall.Kill(asleep, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	become("stopped", asleep, func(p Progress) bool { return p.State == 'T' })
	become("busy", start("while :; do :; done"), func(p Progress) bool { return p.State == 'R' && p.Used > 50*time.Millisecond })
	if _, err := MainThread(1 << 30); err == nil || !strings.Contains(err.Error(), "state of a thread") {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := AnyThread(1 << 30); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("one that is not there: %v", err)
	}
}
