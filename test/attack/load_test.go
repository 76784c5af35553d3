package attack

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/test/attack/node"
)

// load has one pod take all that it can get of the proxy, while another goes on asking.
func (s *suite) load(t *testing.T) {
	s.everyConnection(t)
	s.during(t, "rapid resets of HTTP/2 streams", denied, s.rapidResets)
	s.during(t, "a head of a request that never ends, in CONTINUATION frames", denied, s.endlessHead)
	s.during(t, "heads of requests that come a byte at a time, over 500 connections", denied, s.slowHeads)
	s.during(t, "more headers than a request may have", denied, func(until context.Context, t *testing.T) {
		s.heads(until, t, strings.Repeat("a: b\r\n", 5000))
	})
	s.during(t, "larger headers than a request may have", denied, func(until context.Context, t *testing.T) {
		s.heads(until, t, strings.Repeat("a: "+strings.Repeat("b", 8000)+"\r\n", 200))
	})
	s.shares(t)
}

// others is how many requests another pod makes meanwhile: all of them have to be answered.
const others = 100

// during runs an attack of the pod client, until another pod's requests are done.
func (s *suite) during(t *testing.T, name, expected string, attack func(until context.Context, t *testing.T)) {
	s.attack(t, result{"Load", name, expected, "Go"}, func(t *testing.T) {
		until, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { attack(until, t) })
		s.othersGoOn(t)
		stop()
		wg.Wait()
	})
	s.target.take()
}

func (s *suite) othersGoOn(t *testing.T) {
	t.Helper()
	answered := 0
	for range others {
		time.Sleep(10 * time.Millisecond)
		got, err := s.ask(t.Context(), "remote", s.at(0, httpPort), publicRequest, net.Dialer{Timeout: 3 * time.Second})
		if got == 200 {
			answered++
		} else {
			t.Logf("another pod's request: %d, %v", got, err)
		}
	}
	if answered != others {
		t.Errorf("%d of %d requests of another pod were answered", answered, others)
	}
}

// everyConnection opens connections until there are no more for the pod.
func (s *suite) everyConnection(t *testing.T) {
	var open []net.Conn
	closeAll := func() {
		for _, c := range open {
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}
		open = nil
	}
	defer closeAll()
	addr := s.at(0, httpPort)
	s.attack(t, result{"Load", "more connections than a pod may have with the proxy", denied, "Go"}, func(t *testing.T) {
		var err error
		for range node.ClientShare + 1 {
			var c net.Conn
			if c, err = node.Dial(t.Context(), s.Pods["client"].NS, net.Dialer{Timeout: 10 * time.Second}, "tcp", addr); err != nil {
				break
			}
			open = append(open, c)
		}
		// Connections of the attacks before may still be closing.
		if !errors.Is(err, unix.ECONNREFUSED) || len(open) < node.ClientShare*9/10 || len(open) > node.ClientShare {
			t.Errorf("%d connections, and then %v; want %d, and then a refusal", len(open), err, node.ClientShare)
		}
	})
	s.attack(t, result{"Load", "requests of other pods, while one has all the connections that it may", works, "Go"}, s.othersGoOn)
	s.attack(t, result{"Load", "the same pod over its other family, while it has all the connections that it may", works, "Go"}, func(t *testing.T) {
		if got, err := s.ask(t.Context(), "client", s.at(1, httpPort), publicRequest, net.Dialer{Timeout: 3 * time.Second}); got != 200 {
			t.Errorf("got %d, %v", got, err)
		}
	})
	s.attack(t, result{"Load", "the same pod, when it has closed them", works, "Go"}, func(t *testing.T) {
		closeAll()
		got, err := 0, error(nil)
		for end := time.Now().Add(10 * time.Second); got != 200 && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			got, err = s.ask(t.Context(), "client", addr, publicRequest, net.Dialer{Timeout: time.Second})
		}
		if got != 200 {
			t.Errorf("got %d, %v", got, err)
		}
	})
	s.target.take()
}

// h2 begins a connection of HTTP/2 to the pod that takes every request.
func (s *suite) h2(ctx context.Context) (net.Conn, *http2.Framer, error) {
	c, err := node.Dial(ctx, s.Pods["client"].NS, net.Dialer{Timeout: 3 * time.Second}, "tcp", s.portOf("stream", httpPort))
	if err != nil {
		return nil, nil, err
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	framer := http2.NewFramer(c, c)
	_, err = io.WriteString(c, http2.ClientPreface)
	if err = errors.Join(err, framer.WriteSettings()); err != nil {
		c.Close()
		return nil, nil, err
	}
	go io.Copy(io.Discard, c) //nolint:errcheck // what the proxy says is not looked at
	return c, framer, nil
}

// attackers run f at once, again and again.
func attackers(until context.Context, n int, f func() error) (rounds int64, first error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var done atomic.Int64
	for range n {
		wg.Go(func() {
			for until.Err() == nil {
				err := f()
				if done.Add(1); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
					return
				}
			}
		})
	}
	wg.Wait()
	return done.Load(), first
}

// rapidResets takes each request back as soon as it is sent, until the proxy ends the connection.
func (s *suite) rapidResets(until context.Context, t *testing.T) {
	const most = 100_000 // what the sockets' buffers hold is sent in vain
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "h"}, {":path", "/from"}} {
		enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	rounds, err := attackers(until, 4, func() error {
		c, framer, err := s.h2(until)
		if err != nil {
			return nil // it is refused, or the test is over
		}
		defer c.Close()
		for id := uint32(1); id < 2*most; id += 2 {
			err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
			if errors.Join(err, framer.WriteRSTStream(id, http2.ErrCodeCancel)) != nil {
				return nil
			}
		}
		return fmt.Errorf("%d streams of a connection were reset at once", most)
	})
	if err != nil || rounds == 0 {
		t.Errorf("after %d connections: %v", rounds, err)
	}
}

// endlessHead never ends a head, until the proxy ends the connection.
func (s *suite) endlessHead(until context.Context, t *testing.T) {
	const most = 64 << 20
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.WriteField(hpack.HeaderField{Name: "x-a", Value: strings.Repeat("b", 4000), Sensitive: true})
	rounds, err := attackers(until, 2, func() error {
		c, framer, err := s.h2(until)
		if err != nil {
			return nil // as above
		}
		defer c.Close()
		if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0x82}}) != nil {
			return nil
		}
		for sent := 0; sent < most; sent += block.Len() {
			if framer.WriteContinuation(1, false, block.Bytes()) != nil {
				return nil
			}
		}
		return fmt.Errorf("%d bytes of a head were taken", most)
	})
	if err != nil || rounds == 0 {
		t.Errorf("after %d connections: %v", rounds, err)
	}
}

// slowHeads never end, and so never come to the server.
func (s *suite) slowHeads(until context.Context, t *testing.T) {
	var open []net.Conn
	for range 500 {
		c, err := node.Dial(until, s.Pods["client"].NS, net.Dialer{Timeout: 3 * time.Second}, "tcp", s.at(0, httpPort))
		if err != nil {
			continue // the test is over
		}
		defer c.Close()
		io.WriteString(c, "GET /slow HTTP/1.1\r\nHost: h\r\nx-a: ")
		open = append(open, c)
	}
	if len(open) == 0 {
		t.Error("no connection")
	}
	for until.Err() == nil {
		for _, c := range open {
			io.WriteString(c, "b")
		}
		time.Sleep(20 * time.Millisecond)
	}
	for _, seen := range s.target.take() {
		if strings.Contains(seen, "/slow") {
			t.Errorf("the server got %q", seen)
		}
	}
}

// heads sends requests with too large a head.
func (s *suite) heads(until context.Context, t *testing.T, headers string) {
	request := "GET /public HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n"
	rounds, err := attackers(until, 4, func() error {
		got, err := s.ask(until, "client", s.at(0, httpPort), request, net.Dialer{Timeout: 3 * time.Second})
		if got != 431 && err == nil {
			return fmt.Errorf("got %d, want 431", got)
		}
		return nil
	})
	if err != nil || rounds == 0 {
		t.Errorf("after %d requests: %v", rounds, err)
	}
}

// shares has a pod ask over many connections, many times each before it reads: another pod's
// only connection gets about what each of them gets.
func (s *suite) shares(t *testing.T) {
	const connections, pipelined = 64, 20
	s.attack(t, result{"Load", "64 busy connections of one pod, for another pod's only one", works, "Go"}, func(t *testing.T) {
		until, stop := context.WithTimeout(t.Context(), 3*time.Second)
		defer stop()
		var busy, lone atomic.Int64
		ask := func(from string, n int, answered *atomic.Int64) func() error {
			return func() error {
				c, err := node.Dial(t.Context(), s.Pods[from].NS, net.Dialer{Timeout: 3 * time.Second}, "tcp", s.at(0, httpPort))
				if err != nil {
					return err
				}
				defer c.Close()
				c.SetDeadline(time.Now().Add(20 * time.Second))
				r := bufio.NewReader(c)
				for until.Err() == nil {
					if _, err := io.WriteString(c, strings.Repeat(publicRequest, n)); err != nil {
						return err
					}
					for got := 0; got < n; {
						line, err := r.ReadString('\n')
						if err != nil {
							return err
						}
						if strings.Contains(line, "HTTP/1.1 200") {
							got++
							answered.Add(1)
						}
					}
				}
				return nil
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := attackers(until, connections, ask("client", pipelined, &busy)); err != nil {
				t.Error(err)
			}
		})
		if _, err := attackers(until, 1, ask("remote", 1, &lone)); err != nil {
			t.Error(err)
		}
		wg.Wait()
		each := busy.Load() / connections
		t.Logf("each busy connection %d, the lone one %d", each, lone.Load())
		if lone.Load() < each/5 || lone.Load() == 0 {
			t.Errorf("the lone connection was answered %d times, each of the others %d", lone.Load(), each)
		}
	})
	s.target.take()
}
