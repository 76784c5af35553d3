package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/test/attack/requests"
)

// secret is what the servers of files have at /admin.
const secret = "SECRET-PAGE"

// server is a web server in a pod. take returns the requests that came since the last call:
// whole, or (whole false) their first lines.
type server struct {
	name  string
	pod   *node.Pod
	whole bool
	take  func() []string
}

func (s *suite) startServers(t *testing.T) {
	t.Helper()
	out, err := exec.Command("sh", "servers.sh").Output()
	if err != nil {
		t.Fatalf("fetch nginx and Apache: %v", err)
	}
	root := strings.TrimSpace(string(out))
	libs, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
	if err != nil || len(libs) != 1 {
		t.Fatalf("libraries of the servers: %v, %v", libs, err)
	}
	web := policy.Labels{"k8s:app": "web"}
	go1 := &rawServer{}
	pod := s.AddPod("go", "10.244.1.11", web)
	for i := range requests.Tables() {
		go1.listen(s.Listen(pod.NS, fmt.Sprintf(":%d", firstPort+i)))
	}
	s.servers = append(s.servers, &server{name: "Go", pod: pod, whole: true, take: go1.take})
	for _, port := range []int{openPort, httpPort} {
		s.target.listen(s.Listen(s.Pods["target"].NS, fmt.Sprintf(":%d", port)))
		s.target.listen(s.Listen(s.Pods["lenient"].NS, fmt.Sprintf(":%d", port)))
	}
	files := s.site(t)
	for name, start := range map[string]func(dir string) []string{
		"nginx": func(dir string) []string {
			return []string{root + "/usr/sbin/nginx", "-p", dir, "-c", write(t, dir, "nginx.conf", nginxConfig(files)), "-e", "stderr"}
		},
		"Apache": func(dir string) []string {
			return []string{root + "/usr/sbin/apache2", "-D", "FOREGROUND", "-f", write(t, dir, "apache.conf", apacheConfig(root, dir, files))}
		},
	} {
		addr := map[string]string{"nginx": "10.244.1.12", "Apache": "10.244.1.13"}[name]
		pod := s.AddPod(strings.ToLower(name), addr, web)
		dir := s.Path(name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		s.Start(pod.NS, "/usr/bin/env", append([]string{"LD_LIBRARY_PATH=" + libs[0]}, start(dir)...)...)
		log := &accessLog{path: filepath.Join(dir, "access.log")}
		s.servers = append(s.servers, &server{name: name, pod: pod, take: log.take})
		s.waitFor(t, pod)
	}
}

// waitFor waits until a server answers its own node, which no policy keeps out.
func (s *suite) waitFor(t *testing.T, pod *node.Pod) {
	t.Helper()
	s.reach(t, s.Host, fmt.Sprintf("%v:%d", pod.Addrs[0], firstPort))
}

// reach waits until there is an answer. A new interface has no IPv6 for a second or two.
func (s *suite) reach(t *testing.T, from *nstest.NS, addr string) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := node.Dial(t.Context(), from, net.Dialer{}, "tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not answer: %v", addr, err)
		}
	}
}

// site makes the files that nginx and Apache serve.
func (s *suite) site(t *testing.T) string {
	t.Helper()
	dir := s.Path("site")
	for path, text := range map[string]string{
		"index.html": "index\n", "public/a": "public a\n", "public/b": "public b\n", "exact": "exact\n", "files/a": "a file\n",
		"admin/index.html": secret + "\n", "secret": secret + "\n", "ws": "ws\n", "any": "any\n", "long": strings.Repeat("0123456789abcdef", 1<<16),
	} {
		write(t, dir, path, text)
	}
	return dir
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func nginxConfig(files string) string {
	var listen strings.Builder
	for i := range requests.Tables() {
		fmt.Fprintf(&listen, "    listen %d; listen [::]:%d;\n", firstPort+i, firstPort+i)
	}
	return fmt.Sprintf(`daemon off; master_process off; worker_processes 1; pid nginx.pid;
events { worker_connections 512; }
http {
  log_format line escape=none '$request'; access_log access.log line;
  large_client_header_buffers 4 512k; server_tokens off; keepalive_timeout 60; lingering_close off;
  client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  underscores_in_headers on; ignore_invalid_headers off;
  server {
%s    root %s; index index.html; absolute_redirect off;
  }
}
`, listen.String(), files)
}

func apacheConfig(root, dir, files string) string {
	var listen strings.Builder
	for i := range requests.Tables() {
		fmt.Fprintf(&listen, "Listen %d\n", firstPort+i)
	}
	return fmt.Sprintf(`%s
LoadModule mpm_event_module %[2]s/usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module %[2]s/usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module %[2]s/usr/lib/apache2/modules/mod_dir.so
ServerRoot %[3]s
ServerName server
PidFile apache.pid
User nobody
Group nogroup
StartServers 1
ErrorLog /dev/stderr
LogFormat "%%r" line
CustomLog access.log line
LimitRequestLine 200000
LimitRequestFieldSize 400000
LimitRequestFields 0
Timeout 10
DocumentRoot %[4]s
DirectoryIndex index.html
<Directory %[4]s>
  Require all granted
</Directory>
`, listen.String(), root, dir, files)
}

// accessLog reads request lines as they are written.
type accessLog struct {
	path   string
	offset int64
}

func (l *accessLog) take() []string {
	f, err := os.Open(l.path)
	if err != nil {
		return nil // nothing was logged yet
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, l.offset, 1<<30))
	if err != nil {
		return []string{err.Error()}
	}
	data = data[:bytes.LastIndexByte(data, '\n')+1]
	l.offset += int64(len(data))
	return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' })
}

// rawServer keeps each request byte for byte, and answers 200 "ok".
type rawServer struct {
	mu  sync.Mutex
	got []string
}

func (s *rawServer) listen(l net.Listener) {
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // it is closed with the test
			}
			go s.serve(c)
		}
	}()
}

func (s *rawServer) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(2 * time.Minute))
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &raw))
	for {
		req, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if raw.Len() > 0 {
			s.mu.Lock()
			s.got = append(s.got, raw.String())
			s.mu.Unlock()
			raw.Reset()
		}
		if err != nil {
			return
		}
		body := "ok"
		if req.Method == http.MethodHead {
			body = ""
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-From: %v\r\n\r\n%s", c.RemoteAddr(), body)
	}
}

// take returns the requests since the last call.
func (s *rawServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}
