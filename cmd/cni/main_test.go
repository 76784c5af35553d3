package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/septum-dev/septum/enforcer/cni"
)

const pod = "IgnoreUnknown=1;K8S_POD_NAMESPACE=demo;K8S_POD_NAME=app-1;K8S_POD_INFRA_CONTAINER_ID=x;K8S_POD_UID=u-1"

// answering is a socket where the enforcer is answer, and the requests that it got.
func answering(t *testing.T, answer func(*cni.Pod)) (string, chan cni.Request) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := cni.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	requests, done := make(chan cni.Request, 16), make(chan error, 1)
	go func() {
		done <- cni.Serve(ctx, lis, func(p *cni.Pod) { requests <- p.Request; answer(p) }, func(err error) { t.Log(err) })
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path, requests
}

// silent is a socket whose other side does nothing at all, as a stopped process.
func silent(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lis.Close() })
	return path
}

// run adds a pod, and returns what the plugin prints.
func run(t *testing.T, version, args, settings string) (map[string]any, error) {
	t.Helper()
	ipVersion := ""
	if strings.HasPrefix(version, "0.") {
		ipVersion = `"version": "4", `
	}
	stdin := fmt.Sprintf(`{"cniVersion": %q, "name": "n", "type": "septum-cni", %s
		"prevResult": {"cniVersion": %[1]q, "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/run/netns/x"}],
		"ips": [{%[3]s"address": "10.244.1.7/24", "interface": 1}, {%[3]s"address": "10.9.9.9/24", "interface": 0}]}}`, version, settings, ipVersion)
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	stdout := os.Stdout
	os.Stdout = out
	addErr := add(context.Background(), &skel.CmdArgs{Args: args, Netns: "/run/netns/x", StdinData: []byte(stdin)})
	os.Stdout = stdout
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	var result map[string]any
	if text, _ := io.ReadAll(out); len(text) > 0 {
		if err := json.Unmarshal(text, &result); err != nil {
			t.Fatalf("printed %s: %v", text, err)
		}
	}
	return result, addErr
}

func socket(path string) string { return fmt.Sprintf(`"socket": %q, "timeout": "300ms",`, path) }

func TestAddPassesResultOn(t *testing.T) {
	for _, version := range []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			path, requests := answering(t, func(p *cni.Pod) {
				time.Sleep(100 * time.Millisecond)
				p.Reply(cni.Reply{OK: true, Policed: true})
			})
			began := time.Now()
			result, err := run(t, version, pod, socket(path))
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(began) < 100*time.Millisecond {
				t.Error("the plugin did not wait for the answer")
			}
			if result["cniVersion"] != version || len(result["ips"].([]any)) != 2 || len(result["interfaces"].([]any)) != 2 {
				t.Errorf("result is %v, want that of the plugins before", result)
			}
			got := <-requests
			if got.Key() != "demo/app-1" || got.UID != "u-1" || got.NetNS != "/run/netns/x" || len(got.Addresses) != 1 || got.Addresses[0].String() != "10.244.1.7" {
				t.Errorf("asked for %+v", got)
			}
		})
	}
}

func TestAddFails(t *testing.T) {
	refusing, _ := answering(t, func(p *cni.Pod) { p.Reply(cni.Reply{Error: "no veth"}) })
	for _, tt := range []struct{ name, args, settings, want string }{
		{"nobody listens", pod, socket(filepath.Join(t.TempDir(), "none")), "waited 300ms for the enforcer"},
		{"the enforcer is stopped", pod, socket(silent(t)), "waited 300ms for the enforcer"},
		{"the enforcer refuses", pod, socket(refusing), "no veth"},
		{"no UID", strings.ReplaceAll(pod, "K8S_POD_UID", "X"), socket(refusing), "K8S_POD_UID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			began := time.Now()
			result, err := run(t, "1.0.0", tt.args, tt.settings)
			if err == nil || result != nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "demo/app-1") {
				t.Errorf("printed %v, error %v; want none, and an error with the pod and %q", result, err, tt.want)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("took %s", took)
			}
			if result, err := run(t, "1.0.0", tt.args, tt.settings+`"onFailure": "open",`); err != nil || result == nil {
				t.Errorf("with onFailure open: printed %v, error %v", result, err)
			}
		})
	}
}

// None of these asks the enforcer: the one there is would refuse.
func TestAddNeverWaits(t *testing.T) {
	for _, tt := range []struct{ name, args, settings string }{
		{"exempt namespace", pod, `"exemptNamespaces": ["kube-system", "demo"],`},
		{"no pod", "IgnoreUnknown=1", ""},
		{"no arguments", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, requests := answering(t, func(p *cni.Pod) { p.Reply(cni.Reply{Error: "no"}) })
			if result, err := run(t, "1.0.0", tt.args, socket(path)+tt.settings); err != nil || result == nil {
				t.Errorf("printed %v, error %v", result, err)
			}
			if len(requests) > 0 {
				t.Error("the enforcer was asked")
			}
		})
	}
}

// An enforcer that comes while the pod waits answers it.
func TestAddFindsEnforcerLater(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	go func() {
		time.Sleep(400 * time.Millisecond)
		lis, err := cni.Listen(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer lis.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := cni.Serve(ctx, lis, func(p *cni.Pod) { p.Reply(cni.Reply{OK: true}); time.AfterFunc(time.Second, cancel) }, func(error) {}); err != nil {
			t.Error(err)
		}
	}()
	if result, err := run(t, "1.0.0", pod, fmt.Sprintf(`"socket": %q, "timeout": "10s",`, path)); err != nil || result == nil {
		t.Errorf("printed %v, error %v", result, err)
	}
}

func TestConfigurationRefused(t *testing.T) {
	for _, settings := range []string{`"timeout": "soon",`, `"timeout": "-1s",`, `"onFailure": "maybe",`, `"exemptNamespaces": "kube-system",`} {
		if result, err := run(t, "1.0.0", pod, settings); err == nil || result != nil {
			t.Errorf("%s: printed %v, error %v", settings, result, err)
		}
	}
	err := add(context.Background(), &skel.CmdArgs{Args: pod, StdinData: []byte(`{"cniVersion": "1.0.0", "name": "n", "type": "septum-cni"}`)})
	if err == nil || !strings.Contains(err.Error(), "chained") {
		t.Errorf("with no plugin before: %v", err)
	}
}

func TestPodOf(t *testing.T) {
	got := podOf(pod)
	if want := []string{"demo/app-1", "u-1"}; !slices.Equal([]string{got.Key(), got.UID}, want) {
		t.Errorf("pod is %+v, want %v", got, want)
	}
}
