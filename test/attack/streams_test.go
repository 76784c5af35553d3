package attack

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/test/attack/node"
)

// bulk is the size of a large body.
const bulk = 1 << 30

// pattern is an endless stream whose bytes say where they are.
type pattern struct{ at int64 }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(p.at ^ p.at>>8 ^ p.at>>16)
		p.at++
	}
	return len(b), nil
}

// matches reads r to its end and says how much of the pattern it was.
func matches(r io.Reader) (int64, error) {
	var want pattern
	got, expected := make([]byte, 1<<16), make([]byte, 1<<16)
	var size int64
	for {
		n, err := r.Read(got)
		want.Read(expected[:n])
		if string(got[:n]) != string(expected[:n]) {
			return size, fmt.Errorf("other bytes than those sent, between %d and %d", size, size+int64(n))
		}
		size += int64(n)
		if errors.Is(err, io.EOF) {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// startStreams serves the ways in which a connection can go on and end.
func (s *suite) startStreams(t *testing.T) {
	t.Helper()
	pod := s.AddPod("stream", "10.244.1.14", map[string]string{"k8s:app": "stream"})
	mux := http.NewServeMux()
	mux.HandleFunc("POST /up", func(w http.ResponseWriter, r *http.Request) {
		size, err := matches(r.Body)
		fmt.Fprint(w, size, err)
	})
	mux.HandleFunc("GET /down", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(bulk))
		io.Copy(w, io.LimitReader(&pattern{}, bulk)) //nolint:errcheck // the client counts
	})
	mux.HandleFunc("GET /from", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RemoteAddr) })
	mux.HandleFunc("GET /reset", func(w http.ResponseWriter, _ *http.Request) {
		c, b, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		b.WriteString("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		b.Flush()
		c.(*net.TCPConn).SetLinger(0) //nolint:errcheck // it is a reset or the test fails
		c.Close()
	})
	// What came of a client that went away is asked for by another one.
	ended := make(chan error, 1)
	mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).Flush() //nolint:errcheck // as above
		<-r.Context().Done()
		ended <- r.Context().Err()
	})
	mux.HandleFunc("GET /ended", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ended:
			fmt.Fprint(w, "ended")
		case <-time.After(5 * time.Second):
			fmt.Fprint(w, "still there")
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute, Protocols: &http.Protocols{}}
	srv.Protocols.SetHTTP1(true)
	srv.Protocols.SetUnencryptedHTTP2(true)
	lis := s.Listen(pod.NS, ":80")
	go srv.Serve(lis) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { srv.Close() })
}

// streams are long, or end in another way than with the last byte of an answer.
func (s *suite) streams(t *testing.T) {
	for family, name := range []string{"IPv4", "IPv6"} {
		addr := net.JoinHostPort(s.Pods["stream"].Addrs[family].String(), "80")
		for _, from := range []string{"client", "caged"} {
			s.reach(t, s.Pods[from].NS, addr)
			s.streamsFrom(t, from, addr, " over "+name+", from "+from)
		}
	}
}

func (s *suite) streamsFrom(t *testing.T, from, addr, where string) {
	dial := func(t *testing.T) *net.TCPConn {
		t.Helper()
		c, err := node.Dial(t.Context(), s.Pods[from].NS, net.Dialer{}, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		c.SetDeadline(time.Now().Add(2 * time.Minute))
		return c.(*net.TCPConn)
	}
	ask := func(t *testing.T, c *net.TCPConn, path string) *http.Response {
		t.Helper()
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", path)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	text := func(t *testing.T, res *http.Response) string {
		t.Helper()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	expect := func(name string, run func(t *testing.T)) {
		s.attack(t, result{"Transparency", name + where, same, "Go"}, run)
	}
	// A gigabyte once each way, which is enough of them.
	if from == "client" {
		expect("request of 1 GiB", func(t *testing.T) {
			c := dial(t)
			fmt.Fprintf(c, "POST /up HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", bulk)
			if _, err := io.Copy(c, io.LimitReader(&pattern{}, bulk)); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := text(t, res); got != fmt.Sprint(bulk, error(nil)) {
				t.Errorf("the server got %s", got)
			}
		})
		expect("response of 1 GiB", func(t *testing.T) {
			size, err := matches(ask(t, dial(t), "/down").Body)
			if size != bulk || err != nil {
				t.Errorf("%d bytes came: %v", size, err)
			}
		})
	}
	expect("100 requests in one connection, which is one at the server too", func(t *testing.T) {
		c := dial(t)
		first := text(t, ask(t, c, "/from"))
		for range 99 {
			if got := text(t, ask(t, c, "/from")); got != first {
				t.Fatalf("a request came from %s after %s", got, first)
			}
		}
	})
	expect("server that resets in the middle of an answer", func(t *testing.T) {
		res := ask(t, dial(t), "/reset")
		b, err := io.ReadAll(res.Body)
		if string(b) != "half" || err == nil {
			t.Errorf("the client got %q, %v", b, err)
		}
	})
	for name, end := range map[string]func(c *net.TCPConn){
		"resets": func(c *net.TCPConn) { c.SetLinger(0) }, "closes": func(*net.TCPConn) {},
	} {
		expect("client that "+name+" while it waits", func(t *testing.T) {
			c := dial(t)
			ask(t, c, "/wait")
			end(c)
			c.Close()
			if got := text(t, ask(t, dial(t), "/ended")); got != "ended" {
				t.Errorf("the request is %s", got)
			}
		})
	}
	expect("segment size", func(t *testing.T) {
		// The node itself comes without the proxy, over the same interfaces.
		own, err := node.Dial(t.Context(), s.Host, net.Dialer{}, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer own.Close()
		if got, want := segmentSize(t, dial(t)), segmentSize(t, own.(*net.TCPConn)); got != want {
			t.Errorf("%d bytes, and %d without the proxy", got, want)
		}
	})
}

func segmentSize(t *testing.T, c *net.TCPConn) (size int) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var got error
	err = raw.Control(func(fd uintptr) { size, got = unix.GetsockoptInt(int(fd), unix.SOL_TCP, unix.TCP_MAXSEG) })
	if err := errors.Join(err, got); err != nil {
		t.Fatal(err)
	}
	return size
}
