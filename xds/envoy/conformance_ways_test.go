package envoy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

const (
	large    = 8 << 20
	rawBytes = "\x00raw bytes\xff"
)

// worker answers a request in the way in which the truth table has it sent; its outcome is
// what the server saw that it should not have, or "".
func worker(w http.ResponseWriter, r *http.Request, way string) string {
	switch way {
	case "websocket":
		return upgraded(w, r)
	case "trailers":
		w.Header().Set("Trailer", "X-After")
		body, err := io.ReadAll(r.Body)
		io.WriteString(w, "hello")
		w.Header().Set("X-After", "server")
		if got := r.Trailer.Get("X-After"); err != nil || got != "client" || string(body) != "body" {
			return fmt.Sprintf("body %q, trailer %q, %v", body, got, err)
		}
		return ""
	case "stream":
		answer := http.NewResponseController(w)
		if err := answer.EnableFullDuplex(); err != nil {
			return err.Error()
		}
		io.WriteString(w, "first")
		if err := answer.Flush(); err != nil {
			return err.Error()
		}
	case "large":
		n, err := io.Copy(w, r.Body)
		if err != nil || n != large {
			return fmt.Sprintf("%d bytes, %v", n, err)
		}
		return ""
	}
	body, err := io.ReadAll(r.Body)
	io.WriteString(w, "hello")
	switch {
	case err != nil:
		return err.Error()
	case way == "http/1.0" && r.ProtoMajor != 1, way == "h2" && r.ProtoMajor != 2:
		return r.Proto
	case way == "continue" && string(body) != "body", way == "stream" && string(body) != "onetwo":
		return fmt.Sprintf("body %q", body)
	}
	return ""
}

// upgraded gives back the bytes that come after an upgrade.
func upgraded(w http.ResponseWriter, r *http.Request) string {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	got := make([]byte, len(rawBytes))
	if _, err := io.ReadFull(rw, got); err != nil || string(got) != rawBytes {
		return fmt.Sprintf("%q, %v", got, err)
	}
	c.Write(got)
	return ""
}

// sendAs sends a request in one of the ways of the truth table, and returns the status; an
// answer of 200 that is not what the worker gives is an error.
func sendAs(t *testing.T, addr, way string, req policy.HTTPRequest) int {
	t.Helper()
	switch way {
	case "h2", "continue", "large":
		return sendByClient(t, addr, way, req)
	}
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	version, head, body := "HTTP/1.1", "", ""
	switch way {
	case "http/1.0":
		version = "HTTP/1.0"
	case "websocket":
		head = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\nSec-WebSocket-Version: 13\r\n"
	case "trailers":
		head, body = "TE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-After\r\n", "4\r\nbody\r\n0\r\nX-After: client\r\n\r\n"
	case "stream":
		head, body = "Transfer-Encoding: chunked\r\n", "3\r\none\r\n"
	}
	fmt.Fprintf(c, "%s %s %s\r\nHost: %s\r\n%s\r\n%s", req.Method, req.Path, version, req.Host, head, body)
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, &http.Request{Method: req.Method})
	if err != nil {
		t.Fatalf("%s: %v", way, err)
	}
	switch {
	case res.StatusCode == http.StatusSwitchingProtocols:
		got := make([]byte, len(rawBytes))
		io.WriteString(c, rawBytes)
		if _, err := io.ReadFull(r, got); err != nil || string(got) != rawBytes {
			t.Errorf("%s: got %q, %v", way, got, err)
		}
		return http.StatusOK
	case res.StatusCode == http.StatusOK && way == "stream":
		first := make([]byte, len("first"))
		if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
			t.Errorf("%s: got %q, %v before the end of the request", way, first, err)
		}
		io.WriteString(c, "3\r\ntwo\r\n0\r\n\r\n")
	}
	got, err := io.ReadAll(res.Body)
	if res.StatusCode == http.StatusOK && (err != nil || string(got) != "hello" || way == "trailers" && res.Trailer.Get("X-After") != "server") {
		t.Errorf("%s: got %q, %v, trailer %v", way, got, err, res.Trailer)
	}
	return res.StatusCode
}

func sendByClient(t *testing.T, addr, way string, req policy.HTTPRequest) int {
	t.Helper()
	transport := &http.Transport{ExpectContinueTimeout: 10 * time.Second}
	defer transport.CloseIdleConnections()
	content, continued := "", false
	switch way {
	case "h2":
		transport.Protocols = new(http.Protocols)
		transport.Protocols.SetUnencryptedHTTP2(true)
	case "continue":
		content = "body"
	case "large":
		content = strings.Repeat("0123456789abcdef", large/16)
	}
	r, err := http.NewRequest(req.Method, "http://"+addr+req.Path, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = req.Host
	if way == "continue" {
		r.Header.Set("Expect", "100-continue")
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{Got100Continue: func() { continued = true }}))
	}
	res, err := (&http.Client{Transport: transport, Timeout: 20 * time.Second}).Do(r)
	if err != nil {
		t.Fatalf("%s: %v", way, err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		t.Errorf("%s: %v", way, err)
	}
	want := "hello"
	if way == "large" {
		want = content
	}
	if res.StatusCode == http.StatusOK && !bytes.Equal(got, []byte(want)) {
		t.Errorf("%s: got %d bytes, want %d", way, len(got), len(want))
	}
	if way == "continue" && continued != (res.StatusCode == http.StatusOK) {
		t.Errorf("%s: 100 is %v, then %d", way, continued, res.StatusCode)
	}
	return res.StatusCode
}
