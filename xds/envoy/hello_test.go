package envoy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/clienthello"
)

// listener is a server that answers "passed" to whatever it gets, and tells what it got.
func listener(t *testing.T) (string, chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan []byte, 256)
	var served sync.WaitGroup
	t.Cleanup(func() { l.Close(); served.Wait() })
	served.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer c.Close()
				b, n := make([]byte, 1<<17), 0
				for { // until the client has said all it has to say
					c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
					m, err := c.Read(b[n:])
					if n += m; err != nil {
						break
					}
				}
				_, _ = io.WriteString(c, "passed")
				got <- b[:n]
			})
		}
	})
	return l.Addr().String(), got
}

// TestHostileHello: what is not clearly a ClientHello for an allowed name is reset, and
// nothing of it gets to the server. What is allowed gets there byte for byte.
func TestHostileHello(t *testing.T) {
	upstream, got := listener(t)
	e := startEnvoy(t, upstream)
	addr := e.apply(t, policy.Class{ID: "c", Kind: policy.KindTLS, TLS: []policy.TLSRule{tlsRule("spec.egress[0]", "ok.example", "*.w.example", "*.5.w.example", "long.example")}})["c"]
	padding := func(n int) clienthello.Extension { return clienthello.Extension{Kind: 21, Body: make([]byte, n)} }
	good := clienthello.Of(clienthello.SNI("ok.example"))
	for _, tt := range []struct {
		name  string
		bytes []byte
		pass  bool
		split int
	}{
		{"allowed", good, true, 0},
		{"a byte a segment", good, true, 1},
		{"upper case", clienthello.Of(clienthello.SNI("OK.Example")), true, 0},
		{"a dot at the end", clienthello.Of(clienthello.SNI("ok.example.")), true, 0},
		{"two dots at the end", clienthello.Of(clienthello.SNI("ok.example..")), false, 0},
		{"a dot at the beginning", clienthello.Of(clienthello.SNI(".ok.example")), false, 0},
		{"another name", clienthello.Of(clienthello.SNI("no.example")), false, 0},
		{"no name", clienthello.Of(), false, 0},
		{"an empty name", clienthello.Of(clienthello.SNI("")), false, 0},
		{"an empty list", clienthello.Of(clienthello.SNI()), false, 0},
		{"two names, allowed first", clienthello.Of(clienthello.SNI("ok.example", "no.example")), false, 0},
		{"two names, allowed last", clienthello.Of(clienthello.SNI("no.example", "ok.example")), false, 0},
		{"two extensions", clienthello.Of(clienthello.SNI("ok.example"), clienthello.SNI("no.example")), false, 0},
		{"two extensions, allowed last", clienthello.Of(clienthello.SNI("no.example"), clienthello.SNI("ok.example")), false, 0},
		{"another type of name", clienthello.Of(clienthello.Extension{Kind: 0, Body: clienthello.Sized(append([]byte{1}, clienthello.Sized([]byte("ok.example"))...))}), false, 0},
		{"bytes behind the list", clienthello.Of(clienthello.Extension{Kind: 0, Body: append(clienthello.SNI("ok.example").Body, 0)}), false, 0},
		{"NUL inside", clienthello.Of(clienthello.SNI("ok.example\x00.no.example")), false, 0},
		{"NUL at the end", clienthello.Of(clienthello.SNI("ok.example\x00")), false, 0},
		{"an address", clienthello.Of(clienthello.SNI("10.0.0.1")), false, 0},
		{"an IPv6 address", clienthello.Of(clienthello.SNI("::1")), false, 0},
		{"a space", clienthello.Of(clienthello.SNI("a b.w.example")), false, 0},
		{"a line break", clienthello.Of(clienthello.SNI("a\n.w.example")), false, 0},
		{"a line break at the end", clienthello.Of(clienthello.SNI("ok.example\n")), false, 0},
		{"bytes that are not UTF-8", clienthello.Of(clienthello.SNI("\xff\xfe.w.example")), false, 0},
		{"a slash", clienthello.Of(clienthello.SNI("no.example/.w.example")), false, 0},
		{"a label too deep", clienthello.Of(clienthello.SNI("a.b.w.example")), false, 0},
		{"an empty label", clienthello.Of(clienthello.SNI("..w.example")), false, 0},
		{"a pattern as name", clienthello.Of(clienthello.SNI("*.w.example")), false, 0},
		{"a name of 256 bytes", clienthello.Of(clienthello.SNI(strings.Repeat("a", 246) + ".w.example")), false, 0},
		{"ECH with an allowed outer name", clienthello.Of(clienthello.Extension{Kind: 0xfe0d, Body: bytes.Repeat([]byte{5}, 200)}, clienthello.SNI("ok.example")), true, 0},
		{"ECH with another outer name", clienthello.Of(clienthello.SNI("no.example"), clienthello.Extension{Kind: 0xfe0d, Body: bytes.Repeat([]byte{5}, 200)}), false, 0},
		{"post-quantum shares", clienthello.Of(padding(1216), clienthello.SNI("ok.example")), true, 0},
		{"12 KiB", clienthello.Of(padding(12<<10), clienthello.SNI("ok.example")), true, 0},
		{"more than 16 KiB", clienthello.Of(padding(20<<10), clienthello.SNI("ok.example")), false, 0},
		{"more than 16 KiB, another name", clienthello.Of(padding(20<<10), clienthello.SNI("no.example")), false, 0},
		{"64 KiB, another name", clienthello.Of(padding(30<<10), clienthello.Extension{Kind: 22, Body: make([]byte, 30<<10)}, clienthello.SNI("no.example")), false, 0},
		{"SSL 2", []byte("\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + strings.Repeat("x", 37)), false, 0},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: ok.example\r\n\r\n"), false, 0},
		{"STARTTLS", []byte("EHLO x\r\nSTARTTLS\r\n"), false, 0},
		{"a record before", append([]byte{23, 3, 1, 0, 1, 0}, good...), false, 0},
		{"an alert before", append([]byte{21, 3, 1, 0, 2, 1, 0}, good...), false, 0},
		{"cut off", good[:len(good)-20], false, 0},
	} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		step := len(tt.bytes)
		if tt.split > 0 {
			step = tt.split
		}
		for i := 0; i < len(tt.bytes) && err == nil; i += step {
			_, err = c.Write(tt.bytes[i:min(i+step, len(tt.bytes))])
		}
		if tt.name == "cut off" {
			c.Close()
			continue
		}
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		answer, err := io.ReadAll(c)
		c.Close()
		if passed := string(answer) == "passed"; passed != tt.pass {
			t.Errorf("%s: passed %v, want %v (%q, %v)", tt.name, passed, tt.pass, answer, err)
		}
		if !tt.pass && !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: ended with %q and %v, want a reset", tt.name, answer, err)
		}
		if tt.pass {
			if b := <-got; !bytes.Equal(b, tt.bytes) {
				t.Errorf("%s: the server got other bytes", tt.name)
			}
		}
	}
	if len(got) > 0 {
		t.Errorf("the server got %q of a refused connection", <-got)
	}
}
