package envoy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestTransparency sends requests that must arrive byte for byte; arrives is set where
// Envoy writes the same request in another way.
func TestTransparency(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	addr := e.apply(t, classOf("open", policy.HTTPRule{}))["open"]
	for _, tt := range []struct{ name, method, request, arrives string }{
		{"names keep their case", "GET", "GET / HTTP/1.1\r\nHost: H.Example:8080\r\nUser-Agent: x\r\nX-cAsE: v\r\n\r\n", ""},
		{"escaped twice where no rule looks at paths", "GET", "GET /a%252Fb HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		{"escaped slash in the query", "GET", "GET /a?b=%2F%5c HTTP/1.1\r\nHost: h\r\n\r\n", ""},
		{"forwarding headers", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc\r\nVia: x\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.1.1.1\r\n\r\n", ""},
		{"x-forwarded-proto as Envoy would set it", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: http\r\n\r\n", ""},
		{"body", "POST", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", ""},
		{"TE trailers", "POST", "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n", ""},
		{"names of Envoy's", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Envoy-Original-Path: /b\r\nX-Envoy-Attempt-Count: 7\r\n\r\n", ""},
		{"two values", "GET", "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n", ""},
		{"obs-text", "GET", "GET / HTTP/1.1\r\nHost: h\r\nA: caf\xe9\r\n\r\n", ""},
		{"many and long headers", "GET", "GET / HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("A: b\r\n", 1000) + "L: " + strings.Repeat("l", 200<<10) + "\r\n\r\n", ""},
		{"own method", "PURGE", "PURGE /a HTTP/1.1\r\nHost: h\r\n\r\n", "PURGE /a HTTP/1.1\r\nHost: h\r\ncontent-length: 0\r\n\r\n"},
		{
			"chunked with trailers", "POST",
			"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
			"POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n",
		},
		{"HTTP/1.0", "GET", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"},
		{"HTTP/1.0 without a host", "GET", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: unknown.invalid\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			codes := rawSend(t, addr, tt.method, tt.request, 1)
			if !slices.Equal(codes, []int{200}) {
				t.Errorf("got %v, want 200", codes)
			}
			if tt.arrives == "" {
				tt.arrives = tt.request
			}
			if got := up.take(); !slices.Equal(got, []string{tt.arrives}) {
				t.Errorf("the server got\n%.400q, want\n%.400q", got, tt.arrives)
			}
		})
	}
}

// TestSmuggling: the class allows GET and POST of /public alone, so a /secret that comes to the
// server in any request has been smuggled.
func TestSmuggling(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	addr := e.apply(t, classOf("c", policy.HTTPRule{Path: exact("/public"), Methods: matches(regex("GET|POST"))}))["c"]
	var running sync.WaitGroup
	var want []string
	const secret = "GET /secret HTTP/1.1\r\nHost: h\r\n\r\n"
	for _, tt := range []struct {
		name, request string
		codes         []int // 0: the connection ended
		forwarded     []string
	}{
		// What is pipelined behind a refusal is not answered: Envoy ends the connection.
		{"pipelined allow, deny, allow", "GET /public HTTP/1.1\r\nHost: h\r\n\r\n" + secret + "GET /public HTTP/1.1\r\nHost: h\r\n\r\n",
			[]int{200, 403, 0}, []string{"GET /public"}},
		{"TE and CL", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + secret, []int{400, 0}, nil},
		{"two CLs", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n" + secret, []int{400, 0}, nil},
		{"CLs joined", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 35\r\n\r\n" + secret, []int{400, 0}, nil},
		{"CL with a sign", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n" + secret, []int{400, 0}, nil},
		{"TE obfuscated by a tab", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\txchunked\r\n\r\n0\r\n\r\n" + secret, []int{501, 0}, nil},
		{"TE twice", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + secret, []int{501, 0}, nil},
		{"space before the colon", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + secret, []int{400, 0}, nil},
		{"chunk size with a sign", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + secret, []int{400, 0}, nil},
		{"no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400, 0}, nil},
		{"HTTP/0.9, judged as 1.0", "GET /public\r\n\r\n", []int{200, 0}, []string{"GET /public"}},
		{"HTTP/0.9, refused", "GET /secret\r\n\r\n", []int{403}, nil},
		{"a method that is none", "G(T /public HTTP/1.1\r\nHost: h\r\n\r\n", []int{400}, nil},
		{"a lower-case method", "get /public HTTP/1.1\r\nHost: h\r\n\r\n", []int{403}, nil},
		{"no host", "GET /public HTTP/1.1\r\n\r\n", []int{400}, nil},
		{"NUL in a header", "GET /public HTTP/1.1\r\nHost: h\r\nA: b\x00\r\n\r\n", []int{400}, nil},
		{"CR in a header, which is taken out", "GET /public HTTP/1.1\r\nHost: h\r\nA: b\rGET /hidden HTTP/1.1\r\n\r\n", []int{200}, []string{"GET /public"}},
		{"h2c upgrade, then the old protocol", "GET /public HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n" + secret,
			[]int{200, 403}, []string{"GET /public"}},
		{"upgrade of what is refused", "GET /secret HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", []int{403}, nil},
		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n" + secret, []int{403, 0}, nil},
		{"spoofed retry", "GET /public HTTP/1.1\r\nHost: h\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 9\r\nX-Envoy-Original-Dst-Host: 127.0.0.1:1\r\n\r\n",
			[]int{200}, []string{"GET /public"}},
	} {
		want = append(want, tt.forwarded...)
		running.Go(func() { // Envoy takes a second to end a connection that it refuses
			if codes := rawSend(t, addr, "GET", tt.request, len(tt.codes)); !slices.Equal(codes, tt.codes) {
				t.Errorf("%s: got %v, want %v", tt.name, codes, tt.codes)
			}
		})
	}
	running.Wait()
	var got []string
	for _, req := range up.take() {
		if strings.Contains(req, "secret") {
			t.Errorf("smuggled: %q", req)
		}
		line, _, _ := strings.Cut(req, " HTTP/")
		got = append(got, line)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the server got %q, want %q", got, want)
	}
}

// TestUpgrade: the bytes after an upgrade that was allowed go both ways.
func TestUpgrade(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	addr := e.apply(t, classOf("c",
		policy.HTTPRule{Path: exact("/ws"), Methods: matches(exact("GET"))},
		policy.HTTPRule{Methods: matches(exact("CONNECT"))},
	))["c"]
	for _, tt := range []struct {
		name, request string
		code          int
	}{
		{"websocket", "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n", 101},
		{"tcp", "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", 101},
		{"SPDY", "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n", 101},
		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.WriteString(c, tt.request); err != nil {
				t.Fatal(err)
			}
			r := bufio.NewReader(c)
			res, err := http.ReadResponse(r, &http.Request{Method: "CONNECT"})
			if err != nil || res.StatusCode != tt.code {
				t.Fatalf("got %v, %v; want %d", res, err, tt.code)
			}
			const sent = "\x00raw bytes\xff"
			if _, err := io.WriteString(c, sent); err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(sent))
			if _, err := io.ReadFull(r, got); err != nil || string(got) != sent {
				t.Errorf("got %q, %v back; want %q", got, err, sent)
			}
			up.take()
		})
	}
}
