//go:build e2e

package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/test/docs/blocks"
)

// shell runs a script of bash as a reader would: in the repository's root, with the cluster's tools, the plugin and the
// Hubble CLI in PATH, and a home of its own.
func (c cluster) shell(t *testing.T, home, script string) (string, error) {
	t.Helper()
	hubble, err := exec.Command(filepath.Join(c.root, "test/hubble/build.sh")).Output()
	if err != nil {
		t.Fatalf("build the Hubble CLI: %v", err)
	}
	tools, err := exec.Command("go", "env", "GOENV", "GOPATH", "GOCACHE").Output()
	if err != nil {
		t.Fatal(err)
	}
	places := strings.Split(strings.TrimSpace(string(tools)), "\n")
	cache := os.Getenv("SEPTUM_CACHE")
	if cache == "" {
		cache = filepath.Join(os.Getenv("HOME"), ".cache/septum")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// Background jobs go with the script's group.
	cmd := c.command(ctx, "bash", "-euo", "pipefail", "-c", `eval "$(test/cluster/cluster env)"`+"\n"+script)
	cmd.Env = append(cmd.Env, "HOME="+home, "GOENV="+places[0], "GOPATH="+places[1], "GOCACHE="+places[2], "SEPTUM_CACHE="+cache, "KUBE_EDITOR=true", "NO_COLOR=1",
		"PATH="+filepath.Join(c.root, "build/bin")+":"+filepath.Dir(strings.TrimSpace(string(hubble)))+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := os.Create(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	// No error if the group is empty already.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	said, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	return string(said), err
}

// TestCommandsOfTheDocs runs the commands of each page, and stops at the first one that fails.
func TestCommandsOfTheDocs(t *testing.T) {
	c := here()
	if out, err := c.command(t.Context(), "make", "--no-print-directory", "plugin").CombinedOutput(); err != nil {
		t.Fatalf("build the plugin: %v\n%s", err, out)
	}
	all, err := blocks.All(c.root)
	if err != nil {
		t.Fatal(err)
	}
	c.apply(t, "cnp.allow-get-products", c.sample(t, "allow-get-data.yaml"))
	c.holds(t, 10*time.Second, sampleTruth())
	pages, scripts := blocks.Scripts(all)
	for _, page := range pages {
		t.Run(page, func(t *testing.T) {
			if out, err := c.shell(t, t.TempDir(), "set -x\n"+scripts[page]); err != nil {
				t.Errorf("%v\n%s", err, tail(out))
			}
		})
	}
}

// tail is the end of a long output.
func tail(out string) string { return out[max(0, len(out)-4000):] }

// TestExamplesOfTheDocs has the API server and the plugin judge each example, and each sample.
func TestExamplesOfTheDocs(t *testing.T) {
	c := here()
	all, err := blocks.All(c.root)
	if err != nil {
		t.Fatal(err)
	}
	key := regexp.MustCompile(`(?s)\{"keys": \[.*?\]\}`).FindString(c.sample(t, "jwt.yaml"))
	examples := map[string]string{}
	for _, b := range all {
		if b.Language == "yaml" {
			// The page has no room for a key.
			text := strings.ReplaceAll(b.Text, `'{"keys": [...]}'`, "'"+strings.Join(strings.Fields(key), " ")+"'")
			examples[b.String()] = blocks.Head(b) + text
		}
	}
	samples, err := filepath.Glob(filepath.Join(c.root, "config/samples/*.yaml"))
	if err != nil || len(samples) < 10 {
		t.Fatalf("only %d samples (%v)", len(samples), err)
	}
	for _, name := range samples {
		examples[filepath.Base(name)] = c.sample(t, filepath.Base(name))
	}
	for name, text := range examples {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "example.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var checks []string
			switch {
			case strings.HasPrefix(text, "cases:"):
				checks = []string{"kubectl septum test -f cmd/kubectl-septum/testdata/shop -f " + file}
			case strings.HasPrefix(text, "secrets:"):
				checks = []string{"helm template septum charts/septum -f " + file}
			default:
				checks = []string{"kubectl apply --dry-run=server -f " + file}
				if strings.Contains(text, "endpointSelector:") {
					checks = append(checks, "kubectl septum lint -f "+file)
				}
			}
			// The two that show a typographic quote are there to be refused.
			wrong := strings.Contains(text, `"80”`)
			for _, check := range checks {
				if out, err := c.shell(t, t.TempDir(), check); (err != nil) != wrong {
					t.Errorf("%s: %v\n%s\n%s", check, err, text, tail(out))
				}
			}
		})
	}
}

// TestReadmeShowsTheDemo shows the demo, and compares it with what README.md says of it: each line but for names of pods,
// addresses, times and counts.
func TestReadmeShowsTheDemo(t *testing.T) {
	c := here()
	c.clear(t)
	t.Cleanup(func() { c.clear(t) })
	all, err := blocks.All(c.root)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.shell(t, t.TempDir(), "test/demo/demo.sh again")
	if err != nil {
		t.Fatalf("the demo: %v\n%s", err, tail(out))
	}
	said := map[string]bool{}
	for line := range strings.Lines(out) {
		said[same(line)] = true
	}
	compared := 0
	for _, b := range all {
		if b.Language != "text" || blocks.Shown()[b.First()] != t.Name() {
			continue
		}
		for line := range strings.Lines(b.Text) {
			if compared++; same(line) != "" && !said[same(line)] {
				t.Errorf("%s: the demo does not say\n%s", b, same(line))
			}
		}
	}
	if compared < 20 || t.Failed() {
		t.Errorf("%d lines of README.md are compared with\n%s", compared, out)
	}
}

// same is a line of the demo without what differs from one run to the next.
func same(line string) string {
	for _, aside := range [][2]string{
		// Who it was stands in the requests above.
		{`^\s*\w{3} +\d+ \d\d:\d\d:\d\d\.\d+: \S+ \(ID:\d+\) -> \S+ \(ID:\d+\)`, ""},
		{`-[0-9a-f]{6,10}-[a-z0-9]{5}\b`, ""},
		{`enforcer-[a-z0-9]{5}\b`, "enforcer"},
		{`\b10\.\d+\.\d+\.\d+\b`, "ADDRESS"},
		{`(Enforce +).*`, "$1"},
		{`server misbehaving|no such host`, "not known"},
		{` +`, " "},
	} {
		line = regexp.MustCompile(aside[0]).ReplaceAllString(line, aside[1])
	}
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "== "))
}
