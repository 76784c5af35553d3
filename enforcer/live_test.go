package enforcer_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/xds/septumpb"
)

// changes is how often a policy is applied, edited or deleted under load.
const changes = 50

// phases are what is published in turn: no policy, one, the same with another rule, and none.
func phases(i int) []string {
	return [][]string{{"/data"}, {"/data", "/more"}, {"/data"}, nil}[i%4]
}

// A policy is applied, edited and deleted under load. Every change allows what is asked, so no
// request fails but those on direct connections which the policy found open: these are reset,
// within the moment, and never more than one for each client and time that it is applied.
func TestPolicyUnderLoad(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot())
	n.reported("no policy in force and the proxy ready", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var clients []*loadClient
	for _, from := range []string{client, remote} {
		for _, reuse := range []bool{false, true, true} {
			c := &loadClient{n: n, from: from, reuse: reuse}
			clients = append(clients, c)
			wg.Go(func() { c.run(stop) })
		}
	}
	var applied []span
	for i := range changes {
		begun := time.Now()
		version := n.publish(snapshot(phases(i)...))
		n.reported("the change in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion == version })
		if i%4 == 0 {
			applied = append(applied, span{begun, time.Now()})
		}
		time.Sleep(150 * time.Millisecond)
	}
	close(stop)
	wg.Wait()
	for _, c := range clients {
		c.check(t, applied)
	}
}

type span struct{ begun, ended time.Time }

// loadClient asks for /data again and again, over new connections or one that it keeps.
type loadClient struct {
	n      *node
	from   string
	reuse  bool
	asked  int
	failed []failure
}

type failure struct {
	// connected is when the connection was begun, asked when the request was.
	connected, asked, at time.Time
	err                  error
	answer               string
}

func (c *loadClient) run(stop <-chan struct{}) {
	var conn *timedConn
	for ; ; c.asked++ {
		select {
		case <-stop:
			if conn != nil {
				conn.Close()
			}
			return
		default:
		}
		f := failure{asked: time.Now()}
		if conn == nil {
			f.connected = f.asked
			if conn, f.err = c.dial(); f.err != nil {
				f.at = time.Now()
				c.failed = append(c.failed, f)
				time.Sleep(2 * time.Millisecond)
				continue
			}
		}
		f.connected = conn.begun
		closes := false
		f.answer, closes, f.err = conn.ask(c.reuse)
		f.at = time.Now()
		if f.err != nil || f.answer != "200 GET /data from "+c.from {
			c.failed = append(c.failed, f)
		}
		if f.err != nil || closes || !c.reuse {
			conn.Close()
			conn = nil
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// timedConn is a connection and when it was begun.
type timedConn struct {
	net.Conn
	begun time.Time
}

func (c *loadClient) dial() (*timedConn, error) {
	out := &timedConn{begun: time.Now()}
	err := netns.Do(c.n.pods[c.from].File, func() (err error) {
		out.Conn, err = net.DialTimeout("tcp4", server+":80", 3*time.Second)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// ask sends one request; closes says that the server ends the connection after its answer.
func (c *timedConn) ask(keep bool) (answer string, closes bool, err error) {
	if err := c.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return "", true, err
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "http://"+server+"/data", nil)
	if err != nil {
		return "", true, err
	}
	req.Close = !keep
	if err := req.Write(c); err != nil {
		return "", true, err
	}
	res, err := http.ReadResponse(bufio.NewReader(c), req)
	if err != nil {
		return "", true, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return fmt.Sprintf("%d %s", res.StatusCode, body), res.Close, err
}

// check lets nothing fail but resets of connections that a policy found open.
func (c *loadClient) check(t *testing.T, applied []span) {
	t.Helper()
	t.Logf("%s, same connection: %v: %d requests, %d reset", c.from, c.reuse, c.asked, len(c.failed))
	if c.asked < 100 {
		t.Errorf("only %d requests", c.asked)
	}
	resets := make([]int, len(applied))
	for _, f := range c.failed {
		during := -1
		for i, s := range applied {
			if f.connected.Before(s.ended) && f.at.After(s.begun) && f.asked.Before(s.ended) {
				during = i
			}
		}
		switch {
		case during < 0:
			t.Errorf("%s, same connection %v: %v %q, though the connection met no new policy (connected %v before, asked %v before)",
				c.from, c.reuse, f.err, f.answer, f.at.Sub(f.connected), f.at.Sub(f.asked))
		case !errors.Is(f.err, syscall.ECONNRESET) && !errors.Is(f.err, syscall.EPIPE) && !isEnd(f.err):
			t.Errorf("%s, same connection %v: %v %q, want a reset", c.from, c.reuse, f.err, f.answer)
		case f.at.Sub(f.asked) > time.Second:
			t.Errorf("%s: the reset took %v", c.from, f.at.Sub(f.asked))
		default:
			if resets[during]++; resets[during] > 1 {
				t.Errorf("%s: %d resets when the policy was applied once", c.from, resets[during])
			}
		}
	}
}

func isEnd(err error) bool {
	return err != nil && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || strings.Contains(err.Error(), "EOF"))
}

// A client that waits on a proxied connection is told when it may have it no longer: its
// label has changed, and the policy that names it denies it now.
func TestProxiedConnectionThatIsDenied(t *testing.T) {
	n := newNode(t)
	n.publish(snapshot("/data"))
	n.reported("the policy in force", func(r *septumpb.NodeReport) bool { return r.NodeVersion != "" && r.ProxyReady })
	n.becomes(client, "GET", "/data", "200 ")
	conn, err := (&loadClient{n: n, from: client}).dial()
	must(t, err)
	defer conn.Close()
	if got, _, err := conn.ask(true); err != nil || got != "200 GET /data from "+client {
		t.Fatalf("GET /data: %q, %v", got, err)
	}
	pods := []testPod{
		{"demo/client", nodeName, "other-app", client}, {"demo/remote", "node2", "frontend-app", remote},
		{"demo/server", nodeName, "backend-app", server}, {"demo/stranger", nodeName, "other-app", stranger},
	}
	begun := time.Now()
	n.publish(snapshotOf(pods, "/data"))
	must(t, conn.SetReadDeadline(begun.Add(10*time.Second)))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the waiting client got %v, want a reset", err)
	}
	t.Logf("reset after %v", time.Since(begun).Round(time.Millisecond))
	if got := ask(n.httpClient(client, false), "GET", "/data"); !strings.HasPrefix(got, "error: ") {
		t.Errorf("a new connection: %q", got)
	}
}
