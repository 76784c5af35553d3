package launch

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain makes the test binary a stand-in for launcher and Envoy too.
func TestMain(m *testing.M) {
	switch os.Getenv("SEPTUM_TEST_ROLE") {
	case "launcher": // hands its capability on to a child that writes down what it has
		p := &Process{
			Path: "/bin/sh", Args: []string{"-c", `grep -E "^(CapEff|CapAmb|Uid)" /proc/self/status; exec sleep 60`},
			Ambient: Ambient(), StopTimeout: time.Second,
			Started: func(int) {}, Ended: func(int, syscall.WaitStatus) {},
		}
		if err := Run(context.Background(), p); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
	case "busy": // gives signs of life, and always has something else to do
		runtime.GOMAXPROCS(1)
		if err := HoldLifeline(); err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		for end := time.Now().Add(10 * time.Minute); time.Now().Before(end); {
			// it works
		}
	default:
		os.Exit(m.Run())
	}
}

type process struct {
	pid    int
	status syscall.WaitStatus
}

// supervise runs a shell script as Envoy.
func supervise(t *testing.T, script string) (started <-chan int, ended <-chan process, stop func()) {
	t.Helper()
	starts, ends := make(chan int, 16), make(chan process, 16)
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{
		Path: "/bin/sh", Args: []string{"-c", script}, StopTimeout: 500 * time.Millisecond,
		Started: func(pid int) { starts <- pid },
		Ended:   func(pid int, status syscall.WaitStatus) { ends <- process{pid, status} },
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Run(ctx, p); err != nil {
			t.Error(err)
		}
	})
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(stop)
	return starts, ends, stop
}

func TestProcessIsStartedAgain(t *testing.T) {
	started, ended, stop := supervise(t, "exec sleep 60")
	first := wait(t, started)
	killed := time.Now()
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if p := wait(t, ended); p.pid != first || p.status.Signal() != syscall.SIGKILL {
		t.Errorf("ended: %+v", p)
	}
	second := wait(t, started)
	if took := time.Since(killed); second == first || took > time.Second {
		t.Errorf("started again as %d (was %d) after %v", second, first, took)
	}
	stop()
	if p := wait(t, ended); p.pid != second || p.status.Signal() != syscall.SIGTERM {
		t.Errorf("stopped: %+v", p)
	}
	if len(started) != 0 {
		t.Error("started after the stop")
	}
}

func TestProcessThatDoesNotEndIsKilled(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "deaf")
	started, ended, stop := supervise(t, `trap "" TERM; touch `+marker+`; while :; do sleep 0.05; done`)
	wait(t, started)
	for {
		if _, err := os.Stat(marker); err == nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if p := wait(t, ended); p.status.Signal() != syscall.SIGKILL {
		t.Errorf("ended: %+v", p)
	}
}

// The end of one process is nothing to the other.
func TestProcessesAreApart(t *testing.T) {
	type event struct {
		name string
		pid  int
	}
	starts := make(chan event, 16)
	ctx, cancel := context.WithCancel(context.Background())
	var processes []*Process
	for _, name := range []string{"a", "b"} {
		processes = append(processes, &Process{
			Path: "/bin/sh", Args: []string{"-c", "exec sleep 60"}, StopTimeout: 500 * time.Millisecond,
			Started: func(pid int) { starts <- event{name, pid} }, Ended: func(int, syscall.WaitStatus) {},
		})
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := Run(ctx, processes...); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	pids := map[string]int{}
	for range 2 {
		e := wait(t, starts)
		pids[e.name] = e.pid
	}
	for range 3 {
		if err := syscall.Kill(pids["b"], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		e := wait(t, starts)
		if e.name != "b" {
			t.Fatalf("%s was started again, and b had ended", e.name)
		}
		pids["b"] = e.pid
	}
	if err := syscall.Kill(pids["a"], 0); err != nil {
		t.Errorf("a has ended with b: %v", err)
	}
}

// An installed launcher that is not root has CAP_NET_RAW and nothing else, and so has
// its child; the child ends with it.
func TestInstall(t *testing.T) {
	dir, err := os.MkdirTemp("", "sept-g-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Install("/proc/self/exe", dir); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "septum-proxy"))
	cmd.Env = []string{"SEPTUM_TEST_ROLE=launcher"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 10077, Gid: 10077}}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()         // it is killed
	defer cmd.Process.Kill() // it may have ended
	var got bytes.Buffer
	for !strings.Contains(got.String(), "CapAmb") {
		buf := make([]byte, 512)
		n, err := out.Read(buf)
		if err != nil {
			t.Fatalf("launcher ended: %v, wrote %q", err, got.String())
		}
		got.Write(buf[:n])
	}
	want := "Uid:\t10077\t10077\t10077\t10077\nCapEff:\t0000000000002000\nCapAmb:\t0000000000002000\n"
	if got.String() != want {
		t.Errorf("the child has\n%swant\n%s", got.String(), want)
	}
	if err := unix.Kill(cmd.Process.Pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// The child holds the pipe open until it is dead too.
	closed := make(chan error, 1)
	go func() {
		_, err := out.Read(make([]byte, 1))
		closed <- err
	}()
	if err := wait(t, closed); err == nil {
		t.Error("the child outlived the launcher")
	}
}
