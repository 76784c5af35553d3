package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/policy"
)

// TestTrueListeners: Envoy takes the listeners as they are in a node, with marks,
// transparent, with the original addresses; only connections cannot be made here.
func TestTrueListeners(t *testing.T) {
	ns := nstest.New(t, t.TempDir(), "sept-f-proxy")
	for leg := MarkIngressDownstream; leg <= MarkEgressUpstream; leg++ {
		ns.Veth(Device(leg), ns, fmt.Sprintf("other-%d", leg))
	}
	e := startEnvoyWith(t, "127.0.0.1:1", func(cmd *exec.Cmd) error { return netns.Do(ns.File, cmd.Start) })
	in, out := classOf("in", policy.HTTPRule{}), classOf("out", policy.HTTPRule{})
	out.Direction = policy.Egress
	np := policy.NodePolicy{Classes: []policy.Class{in, out}}
	set, err := Resources(np, policy.Numbers{Classes: map[policy.ClassID]uint16{"in": freePort(t), "out": freePort(t)}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := e.server.Apply(ctx, set); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", e.admin)
	}}}
	if _, body := get(t, client, "GET", "http://admin/listeners"); !strings.Contains(body, "class/in") || !strings.Contains(body, "class/out") {
		t.Errorf("Envoy's listeners are %q", body)
	}
}

// TestServerRestart: the enforcer comes back with the same policy, and no connection notices.
func TestServerRestart(t *testing.T) {
	e := startEnvoy(t, echo(t, hello))
	class := classOf("c", policy.HTTPRule{Path: exact("/a")})
	addr := e.apply(t, class)["c"]
	c := dialHTTP(t, addr)
	defer c.conn.Close()
	request := policy.HTTPRequest{Method: "GET", Path: "/a", Host: "h"}
	if code := c.do(t, request); code != 200 {
		t.Fatalf("got %d", code)
	}
	first := c.conn

	e.stop()
	if code := c.do(t, request); code != 200 {
		t.Errorf("got %d without a server", code)
	}
	e.serve(t)
	set, _ := e.setFor(t, class)
	if err := e.server.Apply(context.Background(), set); err != nil && !strings.Contains(err.Error(), "no Envoy") {
		t.Fatal(err)
	}
	waitFor(t, "Envoy to have the set again", e.server.Ready)
	if code := c.do(t, request); code != 200 || c.conn != first {
		t.Errorf("got %d afterwards; same connection: %v", code, c.conn == first)
	}
	e.apply(t, classOf("c", policy.HTTPRule{Path: exact("/b")}))
	waitFor(t, "the change", func() bool { return c.do(t, request) == 403 })
	if c.conn != first {
		t.Error("the connection was ended")
	}
}

// TestUpstreamConnections: clients share no connection to the server, a client's requests
// do, and it is not kept long once the client has gone.
func TestUpstreamConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	open := map[string]bool{}
	srv := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.RemoteAddr) }),
		ConnState: func(c net.Conn, s http.ConnState) {
			mu.Lock()
			defer mu.Unlock()
			if s == http.StateClosed {
				delete(open, c.RemoteAddr().String())
			} else {
				open[c.RemoteAddr().String()] = true
			}
		},
	}
	go srv.Serve(l) //nolint:errcheck // Close ends it
	t.Cleanup(func() { srv.Close() })
	e := startEnvoy(t, l.Addr().String())
	addr := e.apply(t, classOf("c", policy.HTTPRule{}))["c"]
	client := func() *http.Client { return &http.Client{Transport: &http.Transport{}} }
	one, two := client(), client()
	_, first := get(t, one, "GET", "http://"+addr)
	_, again := get(t, one, "GET", "http://"+addr)
	_, other := get(t, two, "GET", "http://"+addr)
	if first != again || first == other {
		t.Errorf("server saw %s, %s of one client, %s of the other", first, again, other)
	}
	one.CloseIdleConnections()
	two.CloseIdleConnections()
	waitFor(t, "upstream connections to end", func() bool { mu.Lock(); defer mu.Unlock(); return len(open) == 0 })
}

// TestStreams: bodies flow while they are made, both ways, and 100-continue is the server's to say.
func TestStreams(t *testing.T) {
	upload := make(chan string)
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/refuse":
			http.Error(w, "too large", http.StatusRequestEntityTooLarge)
		case "/large":
			n, err := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n, err)
		default:
			b := make([]byte, 4)
			for range 2 {
				n, _ := io.ReadFull(r.Body, b)
				upload <- string(b[:n])
			}
			io.WriteString(w, "tick")
			w.(http.Flusher).Flush()
			upload <- "waiting"
			io.WriteString(w, "tock")
		}
	}))
	addr := e.apply(t, classOf("c", policy.HTTPRule{}))["c"]
	c := dialHTTP(t, addr)
	defer c.conn.Close()
	c.conn.SetDeadline(time.Now().Add(20 * time.Second))
	write := func(s string) {
		t.Helper()
		if _, err := io.WriteString(c.conn, s); err != nil {
			t.Fatal(err)
		}
	}
	read := func(want string) {
		t.Helper()
		b := make([]byte, len(want))
		if _, err := io.ReadFull(c.r, b); err != nil || string(b) != want {
			t.Fatalf("got %q, %v; want %q", b, err, want)
		}
	}
	write("POST /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n")
	read("HTTP/1.1 100 Continue\r\n\r\n")
	write("abcd")
	if got := <-upload; got != "abcd" {
		t.Fatalf("the server got %q before the body's end", got)
	}
	write("efgh")
	<-upload
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, b); err != nil || string(b) != "tick" {
		t.Fatalf("got %q, %v before the answer's end", b, err)
	}
	<-upload
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "tock" {
		t.Fatalf("got %q, %v", rest, err)
	}

	write("POST /refuse HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n")
	if res, err := http.ReadResponse(c.r, nil); err != nil || res.StatusCode != http.StatusRequestEntityTooLarge {
		t.Fatalf("got %v, %v; want the server's own refusal", res, err)
	}

	const size = 64 << 20
	large, err := http.Post("http://"+addr+"/large", "", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer large.Body.Close()
	if body, err := io.ReadAll(large.Body); err != nil || string(body) != fmt.Sprint(size, " ", nil) {
		t.Errorf("got %q, %v", body, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
