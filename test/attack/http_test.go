package attack

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns/nstest"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/test/attack/requests"
)

// http sends each table of requests to each server.
func (s *suite) http(t *testing.T) {
	for i, table := range requests.Tables() {
		t.Run(table.Section+", "+table.Name, func(t *testing.T) {
			for _, srv := range s.servers {
				t.Run(srv.name, func(t *testing.T) {
					t.Parallel()
					srv.take()
					for _, c := range table.Cases {
						addr := net.JoinHostPort(srv.pod.Addrs[0].String(), fmt.Sprint(firstPort+i))
						s.attack(t, result{table.Section, c.Name, expectation(c), srv.name}, func(t *testing.T) {
							s.request(t, srv, addr, c)
						})
					}
				})
			}
		})
	}
}

func expectation(c requests.Case) string {
	switch {
	case c.Denied():
		return denied
	case len(c.Arrives) == len(c.Codes) && strings.Join(c.Arrives, "") == c.Request:
		return same
	case slices.Contains(c.Codes, 403):
		return "allowed, then denied"
	}
	return rewritten
}

// request runs one case. A server of files answers what is allowed as it likes; but what is
// denied must come neither to it, nor its secret from it.
func (s *suite) request(t *testing.T, srv *server, addr string, c requests.Case) {
	codes, answer := send(t, s.Pods["client"].NS, addr, c)
	if len(codes) != len(c.Codes) {
		t.Fatalf("got %v, want %v", codes, c.Codes)
	}
	for i, code := range codes {
		if want := c.Codes[i]; code != want && (want != 200 || srv.whole || code == 0) {
			t.Errorf("got %v, want %v", codes, c.Codes)
		}
	}
	refusals := len(slices.DeleteFunc(slices.Clone(c.Codes), func(code int) bool { return code != 403 }))
	if n := strings.Count(answer, "Access denied"); n != refusals {
		t.Errorf("%d refusals, want %d", n, refusals)
	}
	if strings.Contains(answer, secret) {
		t.Errorf("the client got the secret: %.300q", answer)
	}
	want := slices.Clone(c.Arrives)
	if !srv.whole {
		for i := range want {
			want[i], _, _ = strings.Cut(want[i], "\r\n")
		}
	}
	var got []string
	deadline := time.Now().Add(10 * time.Second)
	for got = srv.take(); len(got) < len(want) && time.Now().Before(deadline); got = append(got, srv.take()...) {
		time.Sleep(2 * time.Millisecond)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the server got\n%.400q, want\n%.400q", got, want)
	}
}

// send writes the request on a new connection, and reads as many answers as are expected, or
// as come before the connection ends; 0 stands for the end.
func send(t *testing.T, from *nstest.NS, addr string, c requests.Case) (codes []int, answer string) {
	t.Helper()
	conn, err := node.Dial(t.Context(), from, net.Dialer{}, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, c.Request); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	r := bufio.NewReader(io.TeeReader(conn, &raw))
	for len(codes) < len(c.Codes) {
		res, err := http.ReadResponse(r, &http.Request{Method: c.Method})
		if err != nil {
			return append(codes, 0), raw.String()
		}
		codes = append(codes, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return append(codes, 0), raw.String()
		}
	}
	return codes, raw.String()
}

// responses are compared with what the node itself gets, which no proxy stands before.
func (s *suite) responses(t *testing.T) {
	port := firstPort + slices.IndexFunc(requests.Tables(), func(table requests.Table) bool { return table.Section == "Transparency" })
	for _, srv := range s.servers {
		for _, tt := range []struct{ name, method, target, more string }{
			{"response of a page", "GET", "/", ""},
			{"response to HEAD", "HEAD", "/long", ""},
			{"response of 1 MiB", "GET", "/long", ""},
			{"response of a part", "GET", "/long", "Range: bytes=5-20\r\n"},
			{"response without a body", "GET", "/public/a", "If-None-Match: *\r\n"},
			{"response of an error", "GET", "/nothing", ""},
			{"response of a redirection", "GET", "/admin", ""},
			{"response to OPTIONS", "OPTIONS", "/", "Content-Length: 0\r\n"},
		} {
			s.attack(t, result{"Transparency", tt.name, same, srv.name}, func(t *testing.T) {
				addr := fmt.Sprintf("%v:%d", srv.pod.Addrs[0], port)
				c := requests.Case{Method: tt.method, Request: tt.method + " " + tt.target + " HTTP/1.1\r\nHost: h\r\n" + tt.more + "\r\n", Codes: []int{0}}
				_, direct := send(t, s.Host, addr, c)
				if _, got := send(t, s.Pods["client"].NS, addr, c); timeless(got) != timeless(direct) {
					t.Errorf("through the proxy\n%.600q, without it\n%.600q", got, direct)
				}
				time.Sleep(20 * time.Millisecond)
				srv.take()
			})
		}
	}
}

// timeless is an answer without what differs from one to the next, and without what is
// written above the table: Connection, and the date that a server leaves out.
func timeless(answer string) string {
	var lines []string
	for _, line := range strings.SplitAfter(answer, "\r\n") {
		switch name, _, _ := strings.Cut(strings.ToLower(line), ":"); name {
		case "date", "connection", "x-from": // the Go server's x-from is the client's port
		default:
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
