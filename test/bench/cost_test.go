package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// process finds the node's process of a program.
func (b *bench) process(t *testing.T, program string) int {
	t.Helper()
	pids := b.processes(t, program)
	if len(pids) == 0 {
		t.Fatalf("no process runs %s", program)
	}
	return pids[0]
}

// processes are those of the node that run a program.
func (b *bench) processes(t *testing.T, program string) []int {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	var out []int
	for _, dir := range dirs {
		if path, err := os.Readlink(dir + "/exe"); err != nil || path != b.Path(program) || !b.isNodes(dir) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		must(t, err)
		out = append(out, pid)
	}
	return out
}

// isNodes tells the node's own Envoy from those that it is compared with.
func (b *bench) isNodes(dir string) bool {
	args, err := os.ReadFile(dir + "/cmdline")
	return err == nil && !bytes.Contains(args, []byte(b.Path("bin/compared-")))
}

func (b *bench) envoyOf(a *arm) int {
	if a.name == "plain" {
		return b.plain.Cmd.Process.Pid
	}
	return b.nodesEnvoy
}

// cpu is what a process has used so far, in seconds.
func cpu(t *testing.T, pid int) float64 {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(t, err)
	total := 0.0
	for _, task := range tasks {
		data, err := os.ReadFile(task)
		if err != nil {
			continue // a thread that ended
		}
		ns, err := strconv.ParseFloat(strings.Fields(string(data))[0], 64)
		must(t, err)
		total += ns / 1e9
	}
	return total
}

// rss is a process's resident memory, in KiB.
func rss(t *testing.T, pid int) float64 {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	_, rest, ok := strings.Cut(string(data), "VmRSS:")
	if !ok {
		t.Fatalf("process %d has no memory", pid)
	}
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	must(t, err)
	return kb
}

// memory is what the node needs, and what classes and rules add: of the latter what Envoy has
// allocated, as it gives little of what it once had back to the kernel.
func (b *bench) memory(t *testing.T, classCount int) {
	one := policies()[1]
	publish := func(policies ...policy.Policy) float64 {
		b.Publish(policies...)
		time.Sleep(time.Second)
		return b.allocated(t)
	}
	before := publish(one)
	envoy := rss(t, b.nodesEnvoy)
	node := envoy
	for _, program := range []string{"bin/septum-enforcer", "launcher/septum-proxy"} {
		for _, pid := range b.processes(t, program) {
			node += rss(t, pid)
		}
	}
	b.addOne("19", "a node's memory with one class, MB", node/1024, "≤ 110", fmt.Sprintf("Envoy %.0f", envoy/1024))
	many := publish(append(classes(classCount), one)...)
	b.addOne("18", "Envoy's memory for a class, KB", (many-before)/float64(classCount)/1024, "≤ 45", "")
	rules := publish(append(classes(classCount), one, policies()[2])...)
	b.addOne("18", "Envoy's memory for 1,000 rules, MB", (rules-many)/(1<<20)/(treeRules/1000), "≤ 0.5", "")
}

// allocated is what the node's Envoy has allocated, in bytes.
func (b *bench) allocated(t *testing.T) float64 {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", b.Path("run/admin/admin.sock"))
	}}}
	defer client.CloseIdleConnections()
	answer, err := client.Get("http://envoy/memory")
	must(t, err)
	defer answer.Body.Close()
	var out struct {
		Allocated float64 `json:",string"`
	}
	must(t, json.NewDecoder(answer.Body).Decode(&out))
	return out.Allocated
}

// waitForEnvoy waits until the launcher has started the node's Envoy.
func (b *bench) waitForEnvoy(t *testing.T) int {
	t.Helper()
	b.Publish()
	return b.process(t, "bin/envoy")
}
