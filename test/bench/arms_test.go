package bench

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// arm is one way from the client to a server.
type arm struct {
	name string
	pod  *node.Pod
	// policed is true where a request for /denied is refused.
	policed bool
	// path is what is asked for; "" is /file.
	path string
}

func (a *arm) addr() string {
	return netip.AddrPortFrom(a.pod.Addrs[0], port).String()
}

// port is every server's and proxy's.
const port = 8080

// bench is the node, and what is measured on it.
type bench struct {
	*node.Node
	client *node.Pod
	arms   map[string]*arm
	// plain is the process of the plain Envoy.
	plain *node.Process
	// nodesEnvoy is the process of the node's Envoy.
	nodesEnvoy int
	figures    []figure
	// controls say how much noise there is.
	controls []control
	// raw gets each sample; nil drops them.
	raw *os.File
}

// The rules of the arms "tree" and "regex".
const (
	treeRules  = 10_000
	regexRules = 1000
)

// newBench makes the node and every arm; memory is measured on the way.
func newBench(t *testing.T, classCount int) *bench {
	t.Helper()
	b := &bench{Node: node.New(t), arms: map[string]*arm{}}
	b.client = b.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	for i, name := range []string{"direct", "again", "l4", "http", "tree", "regex"} {
		b.arms[name] = &arm{name: name, pod: b.AddPod(name, fmt.Sprintf("10.244.1.%d", 30+i), policy.Labels{"k8s:app": name}), policed: i > 2}
	}
	b.arms["tree"].path = fmt.Sprintf("/tree/%d/file", treeRules-1)
	b.arms["regex"].path = fmt.Sprintf("/v1/tenants/%d/files/7", regexRules-1)
	origin := b.AddPod("origin", "10.244.1.40", nil)
	for i, name := range []string{"plain", "first", "second", "list", "haproxy"} {
		b.arms[name] = &arm{name: name, pod: b.AddPod(name, fmt.Sprintf("10.244.1.%d", 41+i), nil), policed: name == "list" || name == "haproxy"}
	}
	b.nodesEnvoy = b.waitForEnvoy(t)
	b.memory(t, classCount)
	root, libs := unpacked(t)
	files := site(t, b)
	for _, name := range []string{"direct", "again", "l4", "http", "tree", "regex"} {
		b.nginx(t, b.arms[name].pod, root, libs, files)
	}
	b.nginx(t, origin, root, libs, files)
	b.startProxies(t, root, libs, origin.Addrs[0])
	b.Publish(policies()...)
	for _, a := range b.arms {
		b.ready(t, a)
	}
	return b
}

// unpacked are the servers' directory and that of their libraries.
func unpacked(t *testing.T) (root, libs string) {
	t.Helper()
	out, err := exec.Command("sh", "../attack/servers.sh").Output()
	if err != nil {
		t.Fatalf("fetch nginx and HAProxy: %v", err)
	}
	root = strings.TrimSpace(string(out))
	found, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil || len(found) != 1 {
		t.Fatalf("libraries of the servers: %v, %v", found, err)
	}
	return root, found[0]
}

// bulkSize is how long the file /bulk is, in bytes.
const bulkSize = 256 << 20

// site makes the files: 1 KiB wherever a path of the policies leads, and one that is large.
func site(t *testing.T, b *bench) string {
	t.Helper()
	dir := b.Path("site")
	must(t, os.Mkdir(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte(strings.Repeat("x", 1024)), 0o644)) //nolint:gosec // the server runs as another user
	bulk, err := os.Create(filepath.Join(dir, "bulk"))
	must(t, err)
	must(t, bulk.Truncate(bulkSize))
	must(t, bulk.Close())
	return dir
}

func (b *bench) nginx(t *testing.T, pod *node.Pod, root, libs, files string) {
	t.Helper()
	dir := b.Path("nginx-" + pod.Name)
	must(t, os.Mkdir(dir, 0o755))
	config := filepath.Join(dir, "nginx.conf")
	must(t, os.WriteFile(config, fmt.Appendf(nil, nginxConfig, dir, dir, dir, dir, dir, port, files, files), 0o600))
	b.Start(pod.NS, "/usr/bin/env", "LD_LIBRARY_PATH="+libs, root+"/usr/sbin/nginx", "-p", dir, "-c", config, "-e", "stderr")
}

const nginxConfig = `daemon off;
master_process off;
pid %s/pid;
events { worker_connections 4096; }
http {
  access_log off;
  sendfile on;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path %s/body;
  proxy_temp_path %s/proxy;
  fastcgi_temp_path %s/fastcgi;
  uwsgi_temp_path %s/uwsgi;
  scgi_temp_path /dev/null;
  server {
    listen %d;
    error_log /dev/null crit;
    location = /bulk { root %s; }
    location / { root %s; try_files /file =404; }
  }
}
`

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
