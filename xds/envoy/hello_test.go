package envoy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// extension of a ClientHello: its type and body.
type helloExtension struct {
	kind uint16
	body []byte
}

func sized16(b []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// sniOf is the server_name extension with a list of names.
func sniOf(names ...string) helloExtension {
	var list []byte
	for _, n := range names {
		list = append(append(list, 0), sized16([]byte(n))...)
	}
	return helloExtension{0, sized16(list)}
}

// helloOf is a ClientHello as one record, or as several if it is long.
func helloOf(extensions ...helloExtension) []byte {
	extensions = append(extensions,
		helloExtension{0x0a0a, nil},                                                               // GREASE
		helloExtension{43, []byte{4, 0x0a, 0x0a, 3, 4}},                                           // TLS 1.3
		helloExtension{10, sized16([]byte{0, 29})},                                                // x25519
		helloExtension{13, sized16([]byte{4, 3, 8, 4})},                                           // signatures
		helloExtension{51, sized16(append([]byte{0, 29, 0, 32}, bytes.Repeat([]byte{9}, 32)...))}, // a key share
		helloExtension{16, sized16([]byte("\x02h2\x08http/1.1"))})
	var exts []byte
	for _, e := range extensions {
		exts = append(binary.BigEndian.AppendUint16(exts, e.kind), sized16(e.body)...)
	}
	body := append([]byte{3, 3}, bytes.Repeat([]byte{7}, 32)...)
	body = append(body, 32)
	body = append(body, bytes.Repeat([]byte{8}, 32)...)
	body = append(body, sized16([]byte{0x13, 1, 0xc0, 0x2b})...)
	body = append(body, 1, 0)
	body = append(body, sized16(exts)...)
	message := append([]byte{1, byte(len(body) >> 16), byte(len(body) >> 8), byte(len(body))}, body...)
	var out []byte
	for len(message) > 0 {
		n := min(len(message), 1<<14)
		out = append(append(out, 22, 3, 1), sized16(message[:n])...)
		message = message[n:]
	}
	return out
}

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
	padding := func(n int) helloExtension { return helloExtension{21, make([]byte, n)} }
	good := helloOf(sniOf("ok.example"))
	for _, tt := range []struct {
		name  string
		bytes []byte
		pass  bool
		split int
	}{
		{"allowed", good, true, 0},
		{"a byte a segment", good, true, 1},
		{"upper case", helloOf(sniOf("OK.Example")), true, 0},
		{"a dot at the end", helloOf(sniOf("ok.example.")), true, 0},
		{"two dots at the end", helloOf(sniOf("ok.example..")), false, 0},
		{"a dot at the beginning", helloOf(sniOf(".ok.example")), false, 0},
		{"another name", helloOf(sniOf("no.example")), false, 0},
		{"no name", helloOf(), false, 0},
		{"an empty name", helloOf(sniOf("")), false, 0},
		{"an empty list", helloOf(sniOf()), false, 0},
		{"two names, allowed first", helloOf(sniOf("ok.example", "no.example")), false, 0},
		{"two names, allowed last", helloOf(sniOf("no.example", "ok.example")), false, 0},
		{"two extensions", helloOf(sniOf("ok.example"), sniOf("no.example")), false, 0},
		{"two extensions, allowed last", helloOf(sniOf("no.example"), sniOf("ok.example")), false, 0},
		{"another type of name", helloOf(helloExtension{0, sized16(append([]byte{1}, sized16([]byte("ok.example"))...))}), false, 0},
		{"bytes behind the list", helloOf(helloExtension{0, append(sniOf("ok.example").body, 0)}), false, 0},
		{"NUL inside", helloOf(sniOf("ok.example\x00.no.example")), false, 0},
		{"NUL at the end", helloOf(sniOf("ok.example\x00")), false, 0},
		{"an address", helloOf(sniOf("10.0.0.1")), false, 0},
		{"an IPv6 address", helloOf(sniOf("::1")), false, 0},
		{"a space", helloOf(sniOf("a b.w.example")), false, 0},
		{"a line break", helloOf(sniOf("a\n.w.example")), false, 0},
		{"a line break at the end", helloOf(sniOf("ok.example\n")), false, 0},
		{"bytes that are not UTF-8", helloOf(sniOf("\xff\xfe.w.example")), false, 0},
		{"a slash", helloOf(sniOf("no.example/.w.example")), false, 0},
		{"a label too deep", helloOf(sniOf("a.b.w.example")), false, 0},
		{"an empty label", helloOf(sniOf("..w.example")), false, 0},
		{"a pattern as name", helloOf(sniOf("*.w.example")), false, 0},
		{"a name of 256 bytes", helloOf(sniOf(strings.Repeat("a", 246) + ".w.example")), false, 0},
		{"ECH with an allowed outer name", helloOf(helloExtension{0xfe0d, bytes.Repeat([]byte{5}, 200)}, sniOf("ok.example")), true, 0},
		{"ECH with another outer name", helloOf(sniOf("no.example"), helloExtension{0xfe0d, bytes.Repeat([]byte{5}, 200)}), false, 0},
		{"post-quantum shares", helloOf(padding(1216), sniOf("ok.example")), true, 0},
		{"12 KiB", helloOf(padding(12<<10), sniOf("ok.example")), true, 0},
		{"more than 16 KiB", helloOf(padding(20<<10), sniOf("ok.example")), false, 0},
		{"more than 16 KiB, another name", helloOf(padding(20<<10), sniOf("no.example")), false, 0},
		{"64 KiB, another name", helloOf(padding(30<<10), helloExtension{22, make([]byte, 30<<10)}, sniOf("no.example")), false, 0},
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
