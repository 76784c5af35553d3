package bench

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/septum-dev/septum/test/attack/node"
)

// conn is a client's keep-alive connection. It reads no more than it must: a client that is
// slow would hide what lies behind it.
type conn struct {
	net.Conn
	r       *bufio.Reader
	request []byte
}

func (b *bench) dial(a *arm) (*conn, error) {
	c, err := node.Dial(context.Background(), b.client.NS, net.Dialer{Timeout: 5 * time.Second}, "tcp", a.addr())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.name, err)
	}
	path := a.path
	if path == "" {
		path = "/file"
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 64<<10), request: get(path)}, nil
}

func get(path string) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path)
}

// ask sends a request and reads the whole answer. It returns the status and the body's length in bytes.
func (c *conn) ask(request []byte) (status, length int, err error) {
	if _, err := c.Write(request); err != nil {
		return 0, 0, err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, 0, err
	}
	if len(line) < 12 {
		return 0, 0, fmt.Errorf("short status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, fmt.Errorf("status line %q: %w", line, err)
	}
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, err
		}
		if len(line) <= 2 {
			break
		}
		const name = "content-length:"
		if len(line) > len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(name):]))); err != nil {
				return 0, 0, fmt.Errorf("header %q: %w", line, err)
			}
		}
	}
	_, err = io.CopyN(io.Discard, c.r, int64(length))
	return status, length, err
}

// get asks for what the arm's policy allows.
func (c *conn) get() error {
	status, length, err := c.ask(c.request)
	if err == nil && (status != 200 || length != 1024) {
		err = fmt.Errorf("status %d with %d bytes, want 200 with 1024", status, length)
	}
	return err
}

// refused asks for what the arm's policy refuses.
func (c *conn) refused(a *arm) error {
	want := 200
	if a.policed {
		want = 403
	}
	status, _, err := c.ask(get("/denied"))
	if err == nil && status != want {
		err = fmt.Errorf("status %d for /denied, want %d: the connection takes another way than it should", status, want)
	}
	return err
}

// ready waits until the arm answers.
func (b *bench) ready(t *testing.T, a *arm) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var c *conn
		if c, err = b.dial(a); err != nil {
			continue
		}
		if err = c.get(); err == nil {
			err = c.refused(a)
		}
		c.Close()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s does not answer: %v", a.name, err)
}

// connections are n connections of an arm, which are checked when they are closed.
func (b *bench) connections(t *testing.T, a *arm, n int) []*conn {
	t.Helper()
	out := make([]*conn, n)
	for i := range out {
		c, err := b.dial(a)
		must(t, err)
		out[i] = c
	}
	return out
}

func closeAll(t *testing.T, a *arm, conns []*conn) {
	t.Helper()
	for _, c := range conns {
		if err := c.refused(a); err != nil {
			t.Errorf("%s: %v", a.name, err)
		}
		c.Close()
	}
}
