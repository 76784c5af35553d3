package envoy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// rawServer is an upstream that keeps each request byte for byte, and answers 200 "ok".
type rawServer struct {
	addr string
	mu   sync.Mutex
	got  []string
}

func startRaw(t testing.TB) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{addr: l.Addr().String()}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			conns.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() { l.Close(); conns.Wait() })
	return s
}

func (s *rawServer) serve(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(30 * time.Second))
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(c, &raw))
	for {
		req, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		if raw.Len() > 0 {
			s.mu.Lock()
			s.got = append(s.got, raw.String())
			s.mu.Unlock()
			raw.Reset()
		}
		if err != nil {
			return
		}
		if req.Header.Get("Upgrade") != "" || req.Method == http.MethodConnect {
			if req.Method == http.MethodConnect {
				io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
			} else {
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: "+req.Header.Get("Upgrade")+"\r\n\r\n")
			}
			io.Copy(c, r) // echoes raw bytes
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-From: Server\r\n\r\nok")
	}
}

// take returns the requests since the last call.
func (s *rawServer) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// rawSend writes bytes on a new connection and returns the statuses of want answers, or of
// as many as come before the connection ends; 0 stands for the end.
func rawSend(t testing.TB, addr, method, bytes string, want int) []int {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return nil
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, bytes); err != nil {
		t.Error(err)
		return nil
	}
	var codes []int
	r := bufio.NewReader(c)
	for len(codes) < want {
		res, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return append(codes, 0)
		}
		codes = append(codes, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return append(codes, 0)
		}
	}
	return codes
}
