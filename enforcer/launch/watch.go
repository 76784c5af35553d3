package launch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// A process that is stopped or hangs still has its sockets: connections to it are accepted by
// the kernel, and nobody answers. So it is asked for signs of life, and killed when it gives none.
//
// Time alone does not tell a process that hangs from one that gets no processor: a busy node would
// lose a healthy Envoy just when it has most to do. So the time counts that the process could have
// used: that in which it ran or slept, and not that in which it waited for a processor or a disk.

// watchInterval is how often a process is looked at.
const watchInterval = 500 * time.Millisecond

// limits are how long a process may give no sign of life.
type limits struct {
	// stopped is for one that somebody has stopped (SIGSTOP).
	stopped time.Duration
	// still is for one that sleeps and does not wake for the question: a deadlock.
	still time.Duration
	// silent is for one that does something else. Taking two thousand classes at once keeps
	// Envoy from answering for some seconds.
	silent time.Duration
	// starting is for one that has not given its first sign yet.
	starting time.Duration
	// look is the most that one look can add: this process may have been kept from looking.
	look time.Duration
}

func watchLimits() limits {
	return limits{stopped: time.Second, still: 5 * time.Second, silent: 15 * time.Second, starting: time.Minute, look: 2 * watchInterval}
}

// Why a process is killed.
var (
	errStopped = errors.New("it is stopped")
	errStill   = errors.New("it sleeps and answers nobody")
	errSilent  = errors.New("it does not answer, and has had the processor time to")
)

// Watch kills a process that hangs. Started and Ended are to be called for each start and end.
type Watch struct {
	// Alive asks for a sign of life. It may wait for it as long as the process lives.
	Alive func(context.Context) error
	// Look says what becomes of the process.
	Look func(pid int) (Progress, error)
	// Hangs is called before a process is killed.
	Hangs func(pid int, err error)

	mu     sync.Mutex
	limits limits
	pid    int
	heard  bool
	// answer is what the last question came to.
	answer error
	// at is when the process was last looked at, and last what was seen.
	at   time.Time
	last Progress
	// stopped, still and silent are how long it has been so, since its last sign of life.
	stopped, still, silent time.Duration
}

// Started notes the process that is to be watched.
func (w *Watch) Started(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid, w.heard, w.answer, w.at, w.last = pid, false, nil, time.Time{}, Progress{}
	w.stopped, w.still, w.silent = 0, 0, 0
}

// Ended notes that there is none.
func (w *Watch) Ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid = 0
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	type answer struct {
		pid int
		err error
	}
	answers := make(chan answer, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	asking := false
	for {
		select {
		case <-ctx.Done():
			return
		case a := <-answers:
			asking = false
			w.answered(a.pid, a.err)
		case <-tick.C:
			pid := w.look(time.Now())
			if pid == 0 || asking {
				continue // an answer that comes late is a sign of life, too
			}
			asking = true
			wg.Go(func() { answers <- answer{pid, w.Alive(ctx)} })
		}
	}
}

// answered takes the answer of a process that may have been replaced meanwhile.
func (w *Watch) answered(pid int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if pid != w.pid {
		return
	}
	if w.answer = err; err == nil {
		w.heard, w.stopped, w.still, w.silent = true, 0, 0, 0
	}
}

// look sees how the process gets on, kills it if it hangs, and returns its number.
func (w *Watch) look(now time.Time) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pid == 0 {
		return 0
	}
	seen, err := w.Look(w.pid)
	if err != nil {
		return w.pid // it has ended, and that is about to be noted
	}
	if !w.at.IsZero() {
		w.count(seen, now.Sub(w.at))
	}
	w.at, w.last = now, seen
	if why := w.hangs(); why != nil {
		w.Hangs(w.pid, errors.Join(why, w.answer))
		syscall.Kill(w.pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		w.stopped, w.still, w.silent = 0, 0, 0
	}
	return w.pid
}

// count adds what the process could have used of the time since the last look.
func (w *Watch) count(seen Progress, passed time.Duration) {
	limits := w.limitsOf()
	passed = min(passed, limits.look)
	used, waited := seen.Used-w.last.Used, seen.Waited-w.last.Waited
	if seen.State != 'T' {
		w.stopped = 0
	}
	switch seen.State {
	case 'T':
		if w.last.State == 'T' {
			w.stopped += passed
		}
	case 't': // a debugger holds it
		w.silent += passed
	case 'R': // it runs, or waits to
		w.silent += min(used, passed)
		w.still = 0
	case 'D': // killing it would do nothing yet
	default:
		w.silent += max(passed-waited, 0)
		w.still += passed
		if used > 0 || waited > 0 {
			w.still = 0
		}
	}
}

func (w *Watch) limitsOf() limits {
	if w.limits == (limits{}) {
		return watchLimits()
	}
	return w.limits
}

func (w *Watch) hangs() error {
	limits := w.limitsOf()
	switch {
	case w.stopped >= limits.stopped:
		return errStopped
	case !w.heard && w.silent < limits.starting:
		return nil
	case w.heard && w.still >= limits.still:
		return errStill
	case w.silent >= limits.silent:
		return fmt.Errorf("%w (%v)", errSilent, w.silent.Round(time.Second))
	}
	return nil
}
