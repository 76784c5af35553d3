// Package node is a node in network namespaces for tests: the real enforcer, launcher and
// Envoy as processes, the real programs, and a control plane in the test's own process.
// Pods have an IPv4 and an IPv6 address. It needs root.
package node

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
	"github.com/septum-dev/septum/xds/septumpb"
)

// Name is the node's name; the addresses are its own, and those of another node's uplink.
const (
	Name      = "node1"
	Addr      = "10.99.0.1"
	OtherNode = "10.99.0.2"
	// Proxy is the address of the proxy's pod.
	Proxy = "10.244.1.9"

	// ClientShare is how many connections a client may have with the proxy.
	ClientShare = 2000

	serverName = "operator.test"
	gateway    = "10.244.1.1"
	gateway6   = "fd00:244:1::1"
)

// Node is the node and what is on it. Its methods end the test when they fail.
type Node struct {
	Host *nstest.NS
	// Pods are by name; Proxy's is among them.
	Pods map[string]*Pod
	// Launcher is the proxy pod's first process, which starts Envoy.
	Launcher *Process
	// Enforcer is the node's agent.
	Enforcer *Process
	// Secrets are those that the policies name, by ID.
	Secrets []policy.Secret

	t        *testing.T
	dir      string
	operator *xds.Server
	reports  reports
	programs map[string]string
}

// Pod is one pod of the cluster.
type Pod struct {
	*nstest.NS
	Name string
	// Addrs are the IPv4 and the IPv6 address.
	Addrs []netip.Addr
	// Labels are the pod's own, in no namespace but "demo".
	Labels policy.Labels
	// Node is the name of the node that the pod is on.
	Node string
}

// HostVeth is the name of the pod's interface on the node.
func (p *Pod) HostVeth() string { return "veth-" + p.Name }

// New makes the node without pods and starts its programs.
func New(t *testing.T) *Node {
	t.Helper()
	n := &Node{t: t, dir: publicDir(t), Pods: map[string]*Pod{}, programs: map[string]string{}}
	for _, d := range []string{"netns", "state", "bpf", "launcher", "bin"} {
		n.must(os.Mkdir(n.Path(d), 0o755))
	}
	n.mount("bpf", n.Path("bpf"), "bpf", 0)
	// Namespaces that come later must be seen in the enforcer's own mount namespace.
	n.mount(n.Path("netns"), n.Path("netns"), "", unix.MS_BIND)
	n.must(unix.Mount("", n.Path("netns"), "", unix.MS_SHARED, ""))
	n.Host = nstest.New(t, t.TempDir(), "sept-j-node")
	for _, name := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		n.Host.Do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte("1"), 0) })
	}
	n.Host.Addr("lo", Addr+"/32")
	proxy := n.AddPod("proxy", Proxy, nil)
	n.startOperator()
	n.must(os.WriteFile(n.Path("token"), []byte("token"), 0o600))
	n.StartEnforcer()
	n.startProxy(proxy.NS)
	return n
}

// Path is a path in the test's own directory.
func (n *Node) Path(name string) string { return filepath.Join(n.dir, name) }

// mount mounts for as long as the test runs.
func (n *Node) mount(source, target, fsType string, flags uintptr) {
	n.t.Helper()
	n.must(unix.Mount(source, target, fsType, flags, ""))
	n.t.Cleanup(func() {
		if err := unix.Unmount(target, 0); err != nil {
			n.t.Errorf("unmount %s: %v", target, err)
		}
	})
}

// publicDir is a directory that the proxy's user can get into.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sept-j-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove test directory: %v", err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func (n *Node) startOperator() {
	ca, err := xds.NewCA(time.Now())
	n.must(err)
	n.operator, err = xds.NewServer(xds.ServerConfig{
		Names: []string{serverName}, CA: func() *xds.CA { return ca }, Log: logr.Discard(), Now: time.Now, Observer: &n.reports,
		Authenticate: func(context.Context, string) (string, error) { return Name, nil },
	})
	n.must(err)
	n.must(os.WriteFile(n.Path("ca.crt"), ca.Bundle(), 0o600))
	lis := n.Listen(n.Host, Addr+":9443")
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := n.operator.Serve(ctx, lis); err != nil {
			n.t.Error(err)
		}
	})
	n.t.Cleanup(func() { cancel(); wg.Wait() })
}

// asInContainer runs a command with what the enforcer's container has: its capabilities,
// the proxy's group, and /proc/sys that cannot be written.
const asInContainer = `mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys &&
exec setpriv --inh-caps=-all --bounding-set=-all,+bpf,+net_admin,+perfmon,+sys_admin --groups=10077 --no-new-privs "$@"`

// StartEnforcer starts the enforcer; again, once it has been killed.
func (n *Node) StartEnforcer() {
	n.t.Helper()
	n.Enforcer = n.Start(n.Host, "/usr/bin/unshare", "--mount", "--propagation=slave", "sh", "-c", asInContainer, "sh", n.program("enforcer"),
		"--node-name="+Name, "--operator-address="+Addr+":9443", "--operator-server-name="+serverName,
		"--token-file="+n.Path("token"), "--ca-file="+n.Path("ca.crt"), "--state-dir="+n.Path("state"), "--run-dir="+n.Path("run"), "--cni-socket="+n.Path("cni.sock"),
		"--netns-dirs="+n.Path("netns"), "--bpf-dir="+n.Path("bpf/septum"), "--metrics-address="+Addr+":9965", "--log-level=debug",
		fmt.Sprintf("--proxy-client-connections=%d", ClientShare))
}

// startProxy installs the launcher and runs it in the proxy pod, as another user and with
// no capability but the one.
func (n *Node) startProxy(pod *nstest.NS) {
	n.t.Helper()
	if out, err := exec.Command(n.program("proxy"), "install", n.Path("launcher")).CombinedOutput(); err != nil {
		n.t.Fatalf("install the launcher: %v: %s", err, out)
	}
	n.Launcher = n.Start(pod, "/usr/bin/setpriv", "--reuid=10077", "--regid=10077", "--clear-groups",
		"--inh-caps=-all", "--bounding-set=-all,+net_raw", n.Path("launcher/septum-proxy"),
		"--envoy="+n.envoy(), "--socket="+n.Path("run/launch.sock"), "--concurrency=2")
}

// program builds a command of this module, once, and returns its path.
func (n *Node) program(name string) string {
	n.t.Helper()
	if path, ok := n.programs[name]; ok {
		return path
	}
	path := n.Path("bin/septum-" + name)
	cmd := exec.Command("go", "build", "-o", path, "github.com/septum-dev/septum/cmd/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		n.t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	n.programs[name] = path
	return path
}

// envoy copies Envoy to where the proxy's user can run it.
func (n *Node) envoy() string {
	n.t.Helper()
	out, err := exec.Command("sh", "../../xds/envoy/fetch-envoy.sh").Output()
	if err != nil {
		n.t.Fatalf("fetch Envoy: %v", err)
	}
	path := n.Path("bin/envoy")
	if out, err := exec.Command("cp", strings.TrimSpace(string(out)), path).CombinedOutput(); err != nil {
		n.t.Fatalf("copy Envoy: %v: %s", err, out)
	}
	n.must(os.Chmod(path, 0o755))
	return path
}

// Publish compiles the policies for the pods that there are and serves them, and waits
// until they are in force without a problem.
func (n *Node) Publish(policies ...policy.Policy) {
	n.t.Helper()
	version := n.Serve(policies...)
	n.Reported("the policies in force", func(r *septumpb.NodeReport) bool {
		return r.NodeVersion == version && r.ProxyReady && len(r.Problems) == 0
	})
}

// Serve is Publish without the waiting; it returns the node's version.
func (n *Node) Serve(policies ...policy.Policy) string {
	n.t.Helper()
	np := policy.Resolve(n.snapshot(policies), Name)
	nodeSet, err := xds.NodeResources(np)
	n.must(err)
	clusterSet, err := xds.ClusterResources(np)
	n.must(err)
	n.must(n.operator.Publish(xds.Publication{Cluster: clusterSet, Nodes: map[string]map[string]*septumpb.NodeResource{Name: nodeSet}}))
	return nodeSet["checkpoint"].GetCheckpoint().GetVersion()
}

func (n *Node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

// reports is the operator's observer.
type reports struct {
	mu   sync.Mutex
	last *septumpb.NodeReport
}

// Connected and those below it are [xds.Observer]'s.
func (*reports) Connected(string) {}

func (*reports) Disconnected(string)                {}
func (*reports) Acked(string, string, error)        {}
func (*reports) Pushed(string, string, int)         {}
func (*reports) Silent(string)                      {}
func (*reports) Restricted(string, xds.Restriction) {}

func (r *reports) Reported(_ string, report *septumpb.NodeReport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = report
}

func (r *reports) get() *septumpb.NodeReport {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// Reported waits for a report of the node that is good.
func (n *Node) Reported(what string, good func(*septumpb.NodeReport) bool) {
	n.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last := n.reports.get(); last != nil && good(last) {
			return
		}
	}
	n.t.Fatalf("no report with %s; the last is %v", what, fmt.Sprint(n.reports.get()))
}
