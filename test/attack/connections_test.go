package attack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/test/attack/requests"
)

const (
	publicRequest = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n"
	secretRequest = "GET /secret HTTP/1.1\r\nHost: h\r\n\r\n"
)

// portOf is a pod's IPv4 address and a port.
func (s *suite) portOf(pod string, port int) string {
	return net.JoinHostPort(s.Pods[pod].Addrs[0].String(), fmt.Sprint(port))
}

// at is target's address of a family (0: IPv4) and a port.
func (s *suite) at(family, port int) string {
	return net.JoinHostPort(s.Pods["target"].Addrs[family].String(), fmt.Sprint(port))
}

// ask sends one request from a pod and returns the answer's status, or 0.
// The server must have seen the pod's own address.
func (s *suite) ask(ctx context.Context, from, addr, request string, d net.Dialer) (int, error) {
	c, err := node.Dial(ctx, s.Pods[from].NS, d, "tcp", addr)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return exchange(c, request)
}

// exchange sends a request. An answer that says whom the server has seen must name the client.
func exchange(c net.Conn, request string) (int, error) {
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write([]byte(request)); err != nil {
		return 0, err
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		return 0, err
	}
	var code int
	answer := string(b[:n])
	if _, err := fmt.Sscanf(answer, "HTTP/1.1 %d", &code); err != nil {
		return 0, err
	}
	if _, seen, ok := strings.Cut(answer, "x-From: "); ok {
		seen, _, _ = strings.Cut(seen, "\r\n")
		addr, err := netip.ParseAddrPort(seen)
		if err != nil {
			return 0, err
		}
		if own := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr(); addr.Addr().Unmap() != own.Unmap() {
			return 0, fmt.Errorf("the server has seen %v, not %v", addr, own)
		}
	}
	return code, nil
}

func marked(mark int) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) }), err)
	}
}

func local(pod *node.Pod, family, port int) *net.TCPAddr {
	return &net.TCPAddr{IP: pod.Addrs[family].AsSlice(), Port: port}
}

// reuse lets a port be bound again at once.
func reuse(_, _ string, c syscall.RawConn) error {
	var err error
	return errors.Join(c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }), err)
}

// connections are TCP as an attacker would use it.
func (s *suite) connections(t *testing.T) {
	ctx := t.Context()
	brief := net.Dialer{Timeout: 200 * time.Millisecond}
	expect := func(name, from, addr, request, expected string, want int, d net.Dialer) {
		s.attack(t, result{"Data path", name, expected, "Go"}, func(t *testing.T) {
			s.target.take()
			got, err := s.ask(ctx, from, addr, request, d)
			if got != want {
				t.Errorf("got %d, %v; want %d", got, err, want)
			}
			if seen := s.target.take(); (want == 200) != slices.Equal(seen, []string{request}) {
				t.Errorf("the server got %q", seen)
			}
		})
	}
	for _, from := range []string{"client", "remote", "caged"} {
		expect("allowed request, from "+from, from, s.at(0, httpPort), publicRequest, same, 200, net.Dialer{})
		expect("denied request, from "+from, from, s.at(0, httpPort), secretRequest, denied, 403, net.Dialer{})
		expect("connection to the open port, from "+from, from, s.at(0, openPort), secretRequest, same, 200, net.Dialer{})
		expect("connection to the open port over IPv6, from "+from, from, s.at(1, openPort), secretRequest, same, 200, net.Dialer{})
		expect("allowed request over IPv6, from "+from, from, s.at(1, httpPort), publicRequest, same, 200, net.Dialer{})
		expect("denied request over IPv6, from "+from, from, s.at(1, httpPort), secretRequest, denied, 403, net.Dialer{})
	}
	expect("request, from a peer that may nothing", "stranger", s.at(0, httpPort), publicRequest, denied, 0, brief)
	expect("request over IPv6, from a peer that may nothing", "stranger", s.at(1, httpPort), publicRequest, denied, 0, brief)
	expect("connection to the open port, from a peer that may nothing", "stranger", s.at(0, openPort), publicRequest, denied, 0, brief)

	own, err := s.Mark()
	if err != nil {
		t.Fatal(err)
	}
	for _, mark := range []int{1, 2, 3, 4, int(own)} {
		name := fmt.Sprintf("socket with the mark %d", mark)
		if mark == int(own) {
			name = "socket with the mark of re-injected frames"
		}
		expect(name+", from a peer that may nothing", "stranger", s.at(0, openPort), publicRequest, denied, 0, net.Dialer{Timeout: brief.Timeout, Control: marked(mark)})
		expect(name+", denied request", "client", s.at(0, httpPort), secretRequest, denied, 403, net.Dialer{Control: marked(mark)})
		expect(name+", denied request, from a policed pod", "caged", s.at(0, httpPort), secretRequest, denied, 403, net.Dialer{Control: marked(mark)})
	}
	s.tuples(t)
	s.pipelined(t)
}

// tuples are used again and clash with those of the proxy, which makes its own connections
// from the ports 10240 to 32767 in the client's name.
func (s *suite) tuples(t *testing.T) {
	client := s.Pods["client"]
	s.attack(t, result{"Data path", "a 5-tuple used again, allowed and denied in turn", denied, "Go"}, func(t *testing.T) {
		for i := range 20 {
			// No port that the pod's kernel may have given to another connection.
			d := net.Dialer{LocalAddr: local(client, 0, 9000), Control: reuse}
			c, err := node.Dial(t.Context(), client.NS, d, "tcp", s.at(0, httpPort))
			if err != nil {
				t.Fatalf("connection %d: %v", i, err)
			}
			request, want := publicRequest, 200
			if i%2 == 1 {
				request, want = secretRequest, 403
			}
			if got, err := exchange(c, request); got != want {
				t.Errorf("connection %d: got %d, %v; want %d", i, got, err, want)
			}
			c.(*net.TCPConn).SetLinger(0) // a reset frees the port at once
			c.Close()
		}
		for _, seen := range s.target.take() {
			if strings.Contains(seen, "secret") {
				t.Errorf("the server got %q", seen)
			}
		}
	})
	// What caged begins is policed at both ends: all four sockets are in the proxy's namespace.
	for _, from := range []string{"client", "remote", "caged"} {
		s.attack(t, result{"Data path", "300 open connections from ports that the proxy uses, from " + from, same, "Go"}, func(t *testing.T) {
			pod := s.Pods[from]
			var failed []string
			for i := range 300 {
				d := net.Dialer{Control: reuse, LocalAddr: local(pod, i%2, 10240+i*70)}
				c, err := node.Dial(t.Context(), pod.NS, d, "tcp", s.at(i%2, httpPort))
				if err != nil {
					failed = append(failed, fmt.Sprintf("%d: %v", i, err))
					continue
				}
				defer c.Close()
				if got, err := exchange(c, publicRequest); got != 200 {
					failed = append(failed, fmt.Sprintf("%d: %d, %v", i, got, err))
				}
			}
			if len(failed) > 0 {
				t.Errorf("%d of 300 connections failed: %q", len(failed), failed)
			}
			s.target.take()
		})
	}
}

// pipelined has the denied request behind many that are allowed.
func (s *suite) pipelined(t *testing.T) {
	s.attack(t, result{"Data path", "pipelined requests in one connection, allowed then denied, many times", denied, "Go"}, func(t *testing.T) {
		c := requests.Case{Method: http.MethodGet, Request: strings.Repeat(publicRequest, 50) + secretRequest, Codes: make([]int, 51)}
		codes, _ := send(t, s.Pods["client"].NS, s.at(0, httpPort), c)
		if len(codes) != 51 || codes[0] != 200 || codes[50] != 403 {
			t.Errorf("got %v", codes)
		}
		for _, seen := range s.target.take() {
			if seen != publicRequest {
				t.Errorf("the server got %q", seen)
			}
		}
	})
}

// proxy is spoken to from a pod, past the way that leads to it.
func (s *suite) proxy(t *testing.T) {
	ports, err := s.Listeners()
	if err != nil || len(ports) == 0 {
		t.Fatalf("Envoy's listeners: %v, %v", ports, err)
	}
	for _, tt := range []struct{ name, addr string }{
		{"the proxy pod's own address", node.Proxy},
		{"the proxy's side of the veth", "169.254.7.2"},
		{"the node's side of the veth", "169.254.7.1"},
		{"loopback", "127.0.0.1"},
		{"the proxy pod's own IPv6 address", s.Pods["proxy"].Addrs[1].String()},
		{"IPv6 loopback", "::1"},
	} {
		s.attack(t, result{"Data path", "Envoy's listeners, by " + tt.name, denied, "namespace"}, func(t *testing.T) {
			for _, port := range ports {
				for _, from := range []string{"client", "stranger"} {
					c, err := node.Dial(t.Context(), s.Pods[from].NS, net.Dialer{Timeout: 100 * time.Millisecond}, "tcp", net.JoinHostPort(tt.addr, fmt.Sprint(port)))
					if err == nil {
						t.Errorf("%s is connected with port %d", from, port)
						c.Close()
					}
				}
			}
		})
	}
	s.attack(t, result{"Data path", "Envoy's admin interface and xDS, by TCP", denied, "namespace"}, func(t *testing.T) {
		open := s.OpenPorts(s.Pods["proxy"].NS)
		for _, addr := range open {
			if !strings.HasPrefix(addr, "127.0.0.1:") && !strings.HasPrefix(addr, "[::1]:") {
				t.Errorf("the proxy's namespace listens on %s", addr)
			}
		}
		if len(open) < 2*len(ports) {
			t.Errorf("the proxy's namespace listens on %v, and classes have the ports %v", open, ports)
		}
	})
	s.attack(t, result{"Data path", "frames for Envoy's listeners, with the loopback address, on the proxy pod's interface", denied, "namespace"}, func(t *testing.T) {
		// As a bridge would let a neighbour do it: straight to the proxy pod's own interface.
		out := openLink(t, s.Host, s.Pods["proxy"].HostVeth(), false)
		mac := s.Pods["proxy"].Link("eth0").Attrs().HardwareAddr
		for _, dst := range []string{"127.0.0.1", node.Proxy, "169.254.7.2"} {
			for _, port := range ports {
				src, dst := s.Pods["stranger"].Addrs[0], netip.MustParseAddr(dst)
				syn := tcpSegment(src, dst, segment{srcPort: 4100, dstPort: port, flags: flagSYN}, nil)
				out.send(frame(mac, out.mac, ipv4{src: src, dst: dst, protocol: unix.IPPROTO_TCP}.packet(syn)))
			}
		}
		time.Sleep(quiet)
		for _, f := range out.received() {
			if len(f) > 47 && f[12] == 8 && f[23] == unix.IPPROTO_TCP && f[47]&(flagSYN|flagACK) == flagSYN|flagACK {
				t.Errorf("a listener answered: %x", f)
			}
		}
	})
}
