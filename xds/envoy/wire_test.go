package envoy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

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
