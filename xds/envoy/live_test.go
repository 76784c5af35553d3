package envoy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/septum-dev/septum/policy"
)

func get(t testing.TB, client *http.Client, method, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(body)
}

func hello(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") }

// TestRefusal: what is refused and what is seen of it.
func TestRefusal(t *testing.T) {
	e := startEnvoy(t, echo(t, hello))
	enforced := classOf("enforced", policy.HTTPRule{Methods: matches(exact("GET")), Path: exact("/data")})
	audited := classOf("audited", enforced.HTTP...)
	audited.Audit = true
	out := classOf("out", enforced.HTTP...)
	out.Direction = policy.Egress
	addrs := e.apply(t, enforced, audited, out)
	for _, tt := range []struct {
		class        policy.ClassID
		method, path string
		code         int
		body         string
		verdict      policy.Verdict
		rule         policy.RuleID
	}{
		{"enforced", "GET", "/data", 200, "hello", policy.Forwarded, enforced.HTTP[0].ID},
		{"enforced", "GET", "/other", 403, "Access denied\r\n", policy.Denied, policy.RuleID{}},
		{"enforced", "POST", "/data", 403, "Access denied\r\n", policy.Denied, policy.RuleID{}},
		{"audited", "GET", "/data", 200, "hello", policy.Forwarded, enforced.HTTP[0].ID},
		{"audited", "GET", "/other", 200, "hello", policy.Audited, policy.RuleID{}},
		{"out", "GET", "/other", 403, "Access denied\r\n", policy.Denied, policy.RuleID{}},
	} {
		for len(e.events) > 0 {
			<-e.events
		}
		req, err := http.NewRequest(tt.method, "http://"+addrs[tt.class]+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		// An address in a header must not become the event's.
		req.Header.Set("X-Forwarded-For", "192.0.2.1")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != tt.code || string(body) != tt.body {
			t.Errorf("%s %s %s: got %d %q, %v; want %d %q", tt.class, tt.method, tt.path, res.StatusCode, body, err, tt.code, tt.body)
		}
		if tt.code == 403 && res.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("content type is %q", res.Header.Get("Content-Type"))
		}
		for _, name := range []string{"Server", "X-Request-Id", "X-Envoy-Upstream-Service-Time", "Via"} {
			if res.Header.Get(name) != "" {
				t.Errorf("%s is added to the answer", name)
			}
		}
		select {
		case ev := <-e.events:
			h := ev.HTTP
			if ev.Verdict != tt.verdict || ev.Rule != tt.rule || h.Code != tt.code || h.Method != tt.method || h.Path != tt.path ||
				h.Version != "HTTP/1.1" || h.Host != addrs[tt.class] || ev.Dst.String() != addrs[tt.class] ||
				ev.Src.Addr().String() != "127.0.0.1" || ev.Node != "n1" || h.Latency <= 0 || (ev.Direction == policy.Egress) != (tt.class == "out") {
				t.Errorf("%s %s %s: event %+v %+v", tt.class, tt.method, tt.path, ev, h)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
		}
	}
}

// TestGRPCRefusal: a refused call fails with the status that gRPC has for it.
func TestGRPCRefusal(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		return s.SendMsg(&emptypb.Empty{})
	}))
	go srv.Serve(l) //nolint:errcheck // Stop ends it
	t.Cleanup(srv.Stop)
	e := startEnvoy(t, l.Addr().String())
	addr := e.apply(t, classOf("c", policy.HTTPRule{Methods: matches(exact("POST")), Path: exact("/shop.Cart/Get")}))["c"]
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := conn.Invoke(ctx, "/shop.Cart/Get", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
		t.Errorf("allowed call: %v", err)
	}
	err = conn.Invoke(ctx, "/shop.Cart/Drop", &emptypb.Empty{}, &emptypb.Empty{})
	if s := status.Convert(err); s.Code() != codes.PermissionDenied || s.Message() != "Access denied" {
		t.Errorf("refused call: %v", err)
	}
}

// TestHTTP2PriorKnowledge: the upstream gets what the client speaks.
func TestHTTP2PriorKnowledge(t *testing.T) {
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) }))
	addr := e.apply(t, classOf("c", policy.HTTPRule{Path: exact("/")}))["c"]
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	if code, body := get(t, client, "GET", "http://"+addr+"/"); code != 200 || body != "HTTP/2.0" {
		t.Errorf("got %d %q", code, body)
	}
	if code, _ := get(t, client, "GET", "http://"+addr+"/x"); code != 403 {
		t.Errorf("got %d, want 403", code)
	}
}

// TestLiveChange: a changed rule acts on the next request of a connection that is there,
// and the listener stays the same.
func TestLiveChange(t *testing.T) {
	e := startEnvoy(t, echo(t, hello))
	before := classOf("c", policy.HTTPRule{Path: exact("/a")})
	after := classOf("c", policy.HTTPRule{Path: exact("/b")})
	first, _ := e.setFor(t, before)
	second, _ := e.setFor(t, after)
	if !proto.Equal(first.Listeners[0], second.Listeners[0]) {
		t.Error("the listener changed with its rules")
	}
	addr := e.apply(t, before)["c"]
	var dials int
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials++
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}}}
	if code, _ := get(t, client, "GET", "http://"+addr+"/a"); code != 200 {
		t.Fatalf("got %d before the change", code)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	start := time.Now()
	if err := e.server.Apply(ctx, second); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the change", func() bool { code, _ := get(t, client, "GET", "http://"+addr+"/a"); return code == 403 })
	if took := time.Since(start); took > time.Second {
		t.Errorf("the change took %v", took)
	}
	if code, _ := get(t, client, "GET", "http://"+addr+"/b"); code != 200 {
		t.Errorf("got %d after the change", code)
	}
	if dials != 1 {
		t.Errorf("%d connections were used, want the same one", dials)
	}
	kept := dialHTTP(t, addr)
	defer kept.conn.Close()
	if code := kept.do(t, policy.HTTPRequest{Method: "GET", Path: "/b", Host: "h"}); code != 200 {
		t.Fatalf("got %d", code)
	}
	start = time.Now()
	if err := e.server.Apply(ctx, Set{Clusters: first.Clusters}); err != nil {
		t.Fatal(err)
	}
	kept.conn.SetReadDeadline(start.Add(10 * time.Second))
	if _, err := kept.r.ReadByte(); !errors.Is(err, io.EOF) || time.Since(start) > 3*time.Second {
		t.Errorf("the class's connection ended after %v with %v", time.Since(start), err)
	}
	waitFor(t, "the listener to go", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// TestEnvoyHeaders: a client cannot make Envoy retry, or wait less, by Envoy's own headers.
func TestEnvoyHeaders(t *testing.T) {
	var requests atomic.Int32
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		time.Sleep(100 * time.Millisecond)
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	addr := e.apply(t, classOf("c", policy.HTTPRule{}))["c"]
	codes := rawSend(t, addr, "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Envoy-Internal: true\r\n"+
		"X-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 3\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 10\r\nX-Envoy-Upstream-Rq-Per-Try-Timeout-Ms: 5\r\n\r\n", 1)
	if !slices.Equal(codes, []int{503}) || requests.Load() != 1 {
		t.Errorf("got %v after %d requests, want the server's 503 after one", codes, requests.Load())
	}
}

// TestRefused: what Envoy does not take leaves what it had, and is named.
func TestRefused(t *testing.T) {
	e := startEnvoy(t, echo(t, hello))
	if !e.server.Connected() || e.server.Ready() {
		t.Error("before the first set: want connected, not ready")
	}
	good := classOf("good", policy.HTTPRule{Path: exact("/a")})
	addr := e.apply(t, good)["good"]
	if !e.server.Ready() {
		t.Error("not ready with the set")
	}
	// Its port is taken: Envoy cannot listen.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.numbers.Classes["taken"] = l.Addr().(*net.TCPAddr).AddrPort().Port()
	set, _ := e.setFor(t, classOf("good", policy.HTTPRule{Path: exact("/b")}), classOf("taken"), classOf("third"))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var refused *RefusedError
	if err := e.server.Apply(ctx, set); !errors.As(err, &refused) {
		t.Fatalf("got %v, want a refusal", err)
	}
	if words := refused.Resources["class/taken"]; !strings.Contains(words, "in use") || len(refused.Resources) > 2 {
		t.Errorf("refused: %v", refused)
	}
	waitFor(t, "the old rules", func() bool {
		code, _ := get(t, http.DefaultClient, "GET", "http://"+addr+"/a")
		return code == 200 && e.server.Ready()
	})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := e.server.Apply(ctx, set); err != nil {
		t.Errorf("with the port free: %v", err)
	}
}

// TestNotConnected: a set is kept for the Envoy that is still to come.
func TestNotConnected(t *testing.T) {
	s, err := NewServer(Config{Node: "n1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(context.Background(), Set{}); !errors.Is(err, ErrNotConnected) {
		t.Errorf("got %v", err)
	}
	if s.Connected() || s.Ready() {
		t.Error("connected or ready without Envoy")
	}
}
