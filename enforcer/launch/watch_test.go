package launch

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	hung := 0
	w := &Watch{Hangs: func(pid int, _ error) {
		if pid != cmd.Process.Pid {
			t.Errorf("killed %d", pid)
		}
		hung++
	}}
	silent := errors.New("no answer")
	w.judge(time.Now().Add(time.Hour), silent) // nothing runs
	w.Started(cmd.Process.Pid)
	begun := time.Now()
	w.judge(begun.Add(hangsAfter), silent) // it may take long to start
	w.judge(begun.Add(hangsAfter), nil)
	w.judge(begun.Add(2*hangsAfter-time.Second), silent)
	if hung != 0 {
		t.Fatal("killed while it may be silent")
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w.judge(begun.Add(2*hangsAfter), silent)
	var exit *exec.ExitError
	if err := wait(t, ended); hung != 1 || !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("ended with %v after %d kills", err, hung)
	}
	w.Ended()
	w.judge(begun.Add(time.Hour), silent)
	if hung != 1 {
		t.Error("killed what had ended")
	}
}
