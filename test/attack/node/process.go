package node

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
)

// Process is a child in a namespace.
type Process struct {
	Cmd *exec.Cmd

	log  *bytes.Buffer
	done chan struct{}
}

// Start runs a program in the namespace. It is ended with the test.
func (n *Node) Start(ns *nstest.NS, name string, args ...string) *Process {
	n.t.Helper()
	p := &Process{Cmd: exec.Command(name, args...), log: &bytes.Buffer{}, done: make(chan struct{})}
	p.Cmd.Stdout, p.Cmd.Stderr = p.log, p.log
	p.Cmd.WaitDelay = time.Second
	ns.Do(p.Cmd.Start) // a child is in the namespace of the thread that makes it
	go func() {
		p.Cmd.Wait() //nolint:errcheck // it is killed
		close(p.done)
	}()
	n.t.Cleanup(func() {
		p.Kill(syscall.SIGTERM)
		if n.t.Failed() {
			n.t.Logf("log of %s, its last lines:\n%s", filepath.Base(name), nstest.LastLines(p.log.String()))
		}
	})
	return p
}

// Kill sends the signal and waits for the end.
func (p *Process) Kill(s syscall.Signal) {
	p.Cmd.Process.Signal(s) //nolint:errcheck // it may have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.Cmd.Process.Kill() //nolint:errcheck // as above
		<-p.done
	}
}

// Log is what a process that has ended has written.
func (p *Process) Log() string {
	<-p.done
	return p.log.String()
}

// Envoy is the process id of that one of the launcher's children.
func (n *Node) Envoy() int {
	n.t.Helper()
	return n.child("envoy")
}

// Own is the process id of Septum's own proxy.
func (n *Node) Own() int {
	n.t.Helper()
	return n.child("septum-proxy")
}

func (n *Node) child(program string) int {
	n.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", n.Launcher.Cmd.Process.Pid))
	n.must(err)
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that has ended
		}
		for _, child := range strings.Fields(string(data)) {
			name, err := os.ReadFile("/proc/" + child + "/comm")
			if err != nil || strings.TrimSpace(string(name)) != program {
				continue
			}
			pid, err := strconv.Atoi(child)
			n.must(err)
			return pid
		}
	}
	n.t.Fatalf("%s does not run", program)
	return 0
}

// Run runs a command in the namespace to its end, and returns what it wrote.
func (n *Node) Run(ns *nstest.NS, cmd *exec.Cmd) ([]byte, error) {
	n.t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	ns.Do(cmd.Start) // a child is in the namespace of the thread that makes it
	err := cmd.Wait()
	return out.Bytes(), err
}
