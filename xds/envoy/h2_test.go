package envoy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/septum-dev/septum/policy"
)

// TestHTTP2Attacks sends header blocks that no client library would. The server must see
// only what a rule allows, and no request of its own making.
func TestHTTP2Attacks(t *testing.T) {
	seen := make(chan string, 64)
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r.Method + " " + r.Host + r.RequestURI + " " + r.Header.Get("X-A")
	}))
	addr := e.apply(t, classOf("c",
		policy.HTTPRule{Action: policy.Deny, Hosts: matches(exact("admin.example"))},
		policy.HTTPRule{Path: exact("/public"), Methods: matches(exact("GET"))},
	))["c"]
	type field = hpack.HeaderField
	request := func(path string, more ...field) []field {
		return append([]field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "h"}, {Name: ":path", Value: path}}, more...)
	}
	var running sync.WaitGroup
	var want []string
	for _, tt := range []struct {
		name   string
		fields []field
		status string // "reset" for a stream or connection that ends
		seen   string
	}{
		{"plain", request("/public", field{Name: "x-a", Value: "b"}), "200", "GET h/public b"},
		{"refused", request("/secret"), "403", ""},
		{"traversal", request("/public/../secret"), "403", ""},
		{"another host beside the authority", request("/public", field{Name: "host", Value: "admin.example"}), "200", "GET h/public "},
		{"host without authority", []field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: "/public"}, {Name: "host", Value: "admin.example"}}, "403", ""},
		{"two authorities", request("/public", field{Name: ":authority", Value: "admin.example"}), "reset", ""},
		{"two paths", request("/public", field{Name: ":path", Value: "/secret"}), "reset", ""},
		{"a pseudo-header that is late", append(request("/public", field{Name: "x-a", Value: "b"}), field{Name: ":method", Value: "POST"}), "reset", ""},
		{"CRLF in a value", request("/public", field{Name: "x-a", Value: "b\r\n\r\nGET /secret HTTP/1.1\r\nHost: h\r\n\r\n"}), "reset", ""},
		{"CRLF in a path", request("/public HTTP/1.1\r\nHost: h\r\n\r\nGET /secret"), "reset", ""},
		{"space in a path", request("/public HTTP/1.1"), "reset", ""},
		{"CRLF in a method", []field{{Name: ":method", Value: "GET /secret HTTP/1.1\r\n\r\nGET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "h"}, {Name: ":path", Value: "/public"}}, "reset", ""},
		{"upper-case name", request("/public", field{Name: "X-A", Value: "b"}), "reset", ""},
		{"NUL in a value", request("/public", field{Name: "x-a", Value: "b\x00"}), "reset", ""},
		{"connection header", request("/public", field{Name: "connection", Value: "close"}), "reset", ""},
		{"transfer-encoding", request("/public", field{Name: "transfer-encoding", Value: "chunked"}), "reset", ""},
		{"CONNECT", []field{{Name: ":method", Value: "CONNECT"}, {Name: ":authority", Value: "h:80"}}, "403", ""},
		{"path without a slash", request("public"), "reset", ""},
		{"no path", []field{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "h"}}, "reset", ""},
	} {
		if tt.seen != "" {
			want = append(want, tt.seen)
		}
		running.Go(func() { // Envoy takes a second to end a connection that it refuses
			if got := sendHTTP2(addr, tt.fields); got != tt.status {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.status)
			}
		})
	}
	running.Wait()
	close(seen)
	got := slices.Sorted(func(yield func(string) bool) {
		for s := range seen {
			if !yield(s) {
				return
			}
		}
	})
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the server saw %q, want %q", got, want)
	}
}

// sendHTTP2 sends one header block and returns the status of the answer, "reset", or what
// went wrong in sending.
func sendHTTP2(addr string, fields []hpack.HeaderField) string {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		if err := enc.WriteField(f); err != nil {
			return err.Error()
		}
	}
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return err.Error()
	}
	framer := http2.NewFramer(c, c)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	framer.AllowIllegalWrites = true
	if err := framer.WriteSettings(); err != nil {
		return err.Error()
	}
	if err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}); err != nil {
		return err.Error()
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return "reset"
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		}
	}
}
