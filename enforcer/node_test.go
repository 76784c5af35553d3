package enforcer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

const (
	nodeName   = "node1"
	gateway    = "10.244.1.1"
	client     = "10.244.1.2"
	server     = "10.244.1.3"
	stranger   = "10.244.1.4"
	remote     = "10.244.2.2"
	proxyUser  = 10077
	serverName = "operator.test"
)

// node is a node in namespaces, with the real enforcer, launcher and Envoy as processes,
// and the control plane in this one.
type node struct {
	t              *testing.T
	dir            string
	host, proxyPod *nstest.NS
	pods           map[string]*nstest.NS
	operator       *xds.Server
	stopOperator   func()
	wire           *wire
	reports        reports
	enforcer       *process
	proxy          *process
}

// newNode makes namespaces, starts the operator, the enforcer and the proxy.
func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{t: t, dir: publicDir(t), pods: map[string]*nstest.NS{}}
	for _, d := range []string{"netns", "state", "bpf", "launcher"} {
		must(t, os.Mkdir(filepath.Join(n.dir, d), 0o755))
	}
	n.mount("bpf", n.path("bpf"), "bpf", 0)
	// Namespaces that come later must be seen in the enforcer's own mount namespace.
	n.mount(n.path("netns"), n.path("netns"), "", unix.MS_BIND)
	must(t, unix.Mount("", n.path("netns"), "", unix.MS_SHARED, ""))
	n.host = nstest.New(t, t.TempDir(), "sept-g-node")
	n.host.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0) })
	n.host.Addr("lo", "10.99.0.1/32")
	for name, addr := range map[string]string{"client": client, "server": server, "stranger": stranger} {
		n.addPod(name, addr)
	}
	n.proxyPod = nstest.Pod(n.host, n.path("netns"), "proxy", "10.244.1.9", gateway)
	n.pods[remote] = nstest.Pod(n.host, t.TempDir(), "remote", remote, "10.244.2.1")
	n.serve()
	n.startOperator()
	must(t, os.WriteFile(n.path("token"), []byte("token"), 0o600))
	n.startEnforcer()
	n.startProxy()
	return n
}

// mount mounts for as long as the test runs.
func (n *node) mount(source, target, fsType string, flags uintptr) {
	n.t.Helper()
	must(n.t, unix.Mount(source, target, fsType, flags, ""))
	n.t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			n.t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// publicDir is a directory that the proxy's user can get into.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sept-g-")
	must(t, err)
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove test directory: %v", err)
		}
	})
	must(t, os.Chmod(dir, 0o755))
	return dir
}

func (n *node) path(name string) string { return filepath.Join(n.dir, name) }

// serve answers in the server pod with the path and the client's address.
func (n *node) serve() {
	var lis net.Listener
	n.pods[server].Do(func() (err error) {
		lis, err = net.Listen("tcp4", "0.0.0.0:80")
		return err
	})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "%s %s from %s", r.Method, r.URL.Path, host)
	}), ReadHeaderTimeout: 10 * time.Second}
	var wg sync.WaitGroup
	wg.Go(func() { srv.Serve(lis) }) // it ends by Close
	n.t.Cleanup(func() { srv.Close(); wg.Wait() })
}

func (n *node) startOperator() {
	ca, err := xds.NewCA(time.Now())
	must(n.t, err)
	n.operator, err = xds.NewServer(xds.ServerConfig{
		Names: []string{serverName}, CA: func() *xds.CA { return ca }, Log: logr.Discard(), Now: time.Now, Observer: &n.reports,
		Authenticate: func(context.Context, string) (string, error) { return nodeName, nil },
	})
	must(n.t, err)
	must(n.t, os.WriteFile(n.path("ca.crt"), ca.Bundle(), 0o600))
	var lis net.Listener
	n.host.Do(func() (err error) {
		lis, err = net.Listen("tcp4", "10.99.0.1:9443")
		return err
	})
	n.wire = newWire(lis)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.operator.Serve(ctx, n.wire); err != nil {
			n.t.Error(err)
		}
	})
	n.stopOperator = sync.OnceFunc(func() { cancel(); wg.Wait() })
	n.t.Cleanup(n.stopOperator)
}

// addPod makes a pod on the node, removePod ends one.
func (n *node) addPod(name, addr string) {
	n.t.Helper()
	n.pods[addr] = nstest.Pod(n.host, n.path("netns"), name, addr, gateway)
}

func (n *node) removePod(addr string) {
	n.t.Helper()
	pod := n.pods[addr]
	veth := "veth-" + filepath.Base(pod.Path)
	pod.Remove()
	// Sockets that are still open in the namespace would keep it, and the veth.
	if l, err := n.host.Netlink.LinkByName(veth); err == nil {
		n.host.Netlink.LinkDel(l) // it may go meanwhile
	}
}

// publish compiles the snapshot and serves it; it returns the node's version.
func (n *node) publish(s policy.Snapshot) string {
	n.t.Helper()
	np := policy.Resolve(s, nodeName)
	nodeSet, err := xds.NodeResources(np)
	must(n.t, err)
	clusterSet, err := xds.ClusterResources(np)
	must(n.t, err)
	must(n.t, n.operator.Publish(xds.Publication{Cluster: clusterSet, Nodes: map[string]map[string]*septumpb.NodeResource{nodeName: nodeSet}}))
	return nodeSet["checkpoint"].GetCheckpoint().GetVersion()
}

// process is a child in a namespace.
type process struct {
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{}
}

// start runs a program in the namespace. It is killed at the end of the test.
func (n *node) start(ns *nstest.NS, name string, args ...string) *process {
	n.t.Helper()
	p := &process{cmd: exec.Command(name, args...), log: &bytes.Buffer{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.WaitDelay = time.Second
	ns.Do(p.cmd.Start) // a child is in the namespace of the thread that makes it
	go func() {
		p.cmd.Wait() // it is killed
		close(p.done)
	}()
	n.t.Cleanup(func() {
		p.kill(syscall.SIGTERM)
		if n.t.Failed() {
			n.t.Logf("log of %s, its last lines:\n%s", filepath.Base(name), nstest.LastLines(p.log.String()))
		}
	})
	return p
}

// kill sends the signal and waits for the end.
func (p *process) kill(s syscall.Signal) {
	p.cmd.Process.Signal(s) // it may have ended
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		p.cmd.Process.Kill() // as above
		<-p.done
	}
}

// asInContainer runs a command with what the enforcer's container has: its capabilities,
// the proxy's group, and /proc/sys that cannot be written.
const asInContainer = `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
exec setpriv --inh-caps=-all --bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_admin --groups=10077 --no-new-privs "$@"`

func (n *node) startEnforcer() {
	n.t.Helper()
	n.enforcer = n.start(n.host, "/usr/bin/unshare", "--mount", "--propagation=slave", "sh", "-c", asInContainer, "sh", program(n.t, "enforcer"),
		"--node-name="+nodeName, "--operator-address=10.99.0.1:9443", "--operator-server-name="+serverName,
		"--token-file="+n.path("token"), "--ca-file="+n.path("ca.crt"), "--state-dir="+n.path("state"), "--run-dir="+n.path("run"), "--cni-socket="+n.path("cni.sock"),
		"--netns-dirs="+n.path("netns"), "--bpf-dir="+n.path("bpf/septum"), "--metrics-address=10.99.0.1:9965", "--log-level=debug")
}

// startProxy installs the launcher and runs it in the proxy pod, as another user and with
// no capability but the one.
func (n *node) startProxy() {
	n.t.Helper()
	out, err := exec.Command(program(n.t, "proxy"), "install", n.path("launcher")).CombinedOutput()
	if err != nil {
		n.t.Fatalf("install the launcher: %v: %s", err, out)
	}
	n.proxy = n.start(n.proxyPod, "/usr/bin/setpriv", "--reuid=10077", "--regid=10077", "--clear-groups",
		"--inh-caps=-all", "--bounding-set=-all,+net_raw", n.path("launcher/septum-proxy"),
		"--envoy="+envoyPath(n.t), "--socket="+n.path("run/launch.sock"), "--concurrency=2")
}

// envoyPids are the Envoys of this node's launcher.
func (n *node) envoyPids() []int {
	var pids []int
	children := fmt.Sprintf("/proc/%d/task/", n.proxy.cmd.Process.Pid)
	tasks, _ := os.ReadDir(children)
	for _, task := range tasks {
		text, _ := os.ReadFile(children + task.Name() + "/children")
		for _, f := range strings.Fields(string(text)) {
			var pid int
			name, _ := os.ReadFile("/proc/" + f + "/comm")
			if _, err := fmt.Sscan(f, &pid); err == nil && strings.TrimSpace(string(name)) == "envoy" {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// programs are built once for all tests of the binary.
var programs struct {
	sync.Mutex
	dir string
}

// program builds a command of this module and returns its path.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	path := filepath.Join(programs.dir, "septum-"+name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "github.com/septum-dev/septum/cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}

func TestMain(m *testing.M) {
	var err error
	if programs.dir, err = os.MkdirTemp("", "sept-g-bin-"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(programs.dir)
	os.Exit(code)
}

// envoyPath copies Envoy to where the proxy's user can run it.
func envoyPath(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("sh", "../xds/envoy/fetch-envoy.sh").Output()
	if err != nil {
		t.Fatalf("fetch Envoy: %v", err)
	}
	programs.Lock()
	defer programs.Unlock()
	must(t, os.Chmod(programs.dir, 0o755))
	path := filepath.Join(programs.dir, "envoy")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	in, err := os.Open(strings.TrimSpace(string(out)))
	must(t, err)
	defer in.Close()
	copied, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	must(t, err)
	_, err = io.Copy(copied, in)
	must(t, errors.Join(err, copied.Close()))
	return path
}

// httpClient dials from a pod. Without reuse each request has a connection of its own.
func (n *node) httpClient(from string, reuse bool) *http.Client {
	dial := func(_ context.Context, _, addr string) (conn net.Conn, err error) {
		err = netns.Do(n.pods[from].File, func() (err error) {
			conn, err = net.DialTimeout("tcp4", addr, time.Second)
			return err
		})
		return conn, err
	}
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: !reuse}}
}

// ask sends one request and returns the status and body, or the error.
func ask(c *http.Client, method, path string) string {
	req, err := http.NewRequest(method, "http://"+server+path, nil)
	if err != nil {
		return err.Error()
	}
	res, err := c.Do(req)
	if err != nil {
		return "error: " + err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "error: " + err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}

// becomes waits until the request is answered so.
func (n *node) becomes(from, method, path, want string) {
	n.t.Helper()
	n.becomesWithin(15*time.Second, from, method, path, want)
}

func (n *node) becomesWithin(limit time.Duration, from, method, path, want string) {
	n.t.Helper()
	n.t.Logf("%s %s from %s", method, path, from)
	var got string
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = ask(n.httpClient(from, false), method, path); strings.Contains(got, want) {
			return
		}
	}
	n.t.Fatalf("%s %s from %s: %q, want %q", method, path, from, got, want)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
