package envoy

import (
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
)

// TestConformance sends every HTTP request of the truth table that reaches a class through
// a real Envoy. What the data path decides alone is not Envoy's to judge.
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	type judged struct {
		name  string
		class policy.Class
		check conformance.Check
	}
	var all []judged
	var classes []policy.Class
	for _, c := range cases {
		for _, check := range c.Requests {
			if check.Request.HTTP == nil || check.Request.TLS != nil {
				continue
			}
			np := c.Node(check.Node)
			connection := check.Request
			connection.HTTP = nil
			d := policy.Decide(np, connection)
			if d.Verdict != policy.Redirected {
				continue
			}
			i := slices.IndexFunc(np.Classes, func(c policy.Class) bool { return c.ID == d.Class })
			if i < 0 {
				t.Fatalf("%s: %s: the class is missing", c.Name, check.Line)
			}
			class := np.Reveal(np.Classes[i])
			if class.IsTLS() || class.Backend() != policy.BackendEnvoy {
				continue
			}
			// Each case is a cluster of its own; their classes meet in one Envoy here.
			class.ID = policy.ClassID(c.Name + "/" + check.Node + "/" + string(class.ID))
			if !slices.ContainsFunc(classes, func(other policy.Class) bool { return other.ID == class.ID }) {
				classes = append(classes, class)
			}
			all = append(all, judged{c.Name, class, check})
		}
	}
	if len(all) < 50 {
		t.Fatalf("%d requests of the table are for Envoy: has it lost its HTTP?", len(all))
	}
	got := make(chan http.Header, 1)
	var next conformance.Check // what the server answers
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case next.As != "":
			if wrong := worker(w, r, next.As); wrong != "" {
				t.Errorf("%s: the server got %s", next.Line, wrong)
			}
		case next.Status != 0:
			w.WriteHeader(next.Status)
			io.WriteString(w, "the server's own")
		default:
			hello(w, r)
		}
		got <- r.Header
	}))
	addrs := e.apply(t, classes...)
	for _, j := range all {
		next = j.check
		code := e.send(t, addrs[j.class.ID], j.check)
		var header http.Header
		if code == http.StatusOK {
			header = <-got
		}
		for name, want := range j.check.Headers {
			if values := header[http.CanonicalHeaderKey(name)]; !slices.Equal(values, want) {
				t.Errorf("%s: %s\n the server got %s: %q", j.name, j.check.Line, name, values)
			}
		}
		var ev policy.Event
		select {
		case ev = <-e.events:
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
		}
		if refused := j.check.Want == policy.Denied; code != 200 && code != 403 && code != 400 || refused != (code != 200) {
			t.Errorf("%s: %s\n got %d", j.name, j.check.Line, code)
		}
		oracle := j.class.DecideHTTP(*j.check.Request.HTTP)
		if ev.Verdict != j.check.Want || !explains(j.class, ev.Rule, *j.check.Request.HTTP, oracle) {
			t.Errorf("%s: %s\n the event says %d by %+v", j.name, j.check.Line, ev.Verdict, ev.Rule)
		}
	}
	t.Logf("%d requests, %d classes", len(all), len(classes))
}

// send sends a request of the table. Any response that is the server's counts as 200.
func (e *realEnvoy) send(t *testing.T, addr string, check conformance.Check) int {
	t.Helper()
	if check.As != "" {
		return sendAs(t, addr, check.As, *check.Request.HTTP)
	}
	c := dialHTTP(t, addr)
	defer func() { c.conn.Close() }()
	code := c.do(t, *check.Request.HTTP)
	if check.Status != 0 && check.Want != policy.Denied {
		if code != check.Status || c.body != "the server's own" {
			t.Errorf("%s: got %d %q", check.Line, code, c.body)
		}
		return http.StatusOK
	}
	return code
}

// TestConformanceChange sends requests on the same connections before and after a change.
func TestConformanceChange(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	e := startEnvoy(t, echo(t, hello))
	judged := 0
	for _, c := range cases {
		if c.After == nil {
			continue
		}
		node := c.After.Requests[0].Node
		before, after := c.Node(node), c.After.Node(node)
		addrs := e.apply(t, before.Classes...)
		conns := map[policy.ClassID]*httpConn{}
		for _, check := range slices.Concat(c.Requests, []conformance.Check{{}}, c.After.Requests) {
			np := before
			if check.Line == "" {
				addrs = e.apply(t, after.Classes...)
				before = after
				continue
			}
			if check.Request.HTTP == nil {
				continue
			}
			connection := check.Request
			connection.HTTP = nil
			class := policy.Decide(np, connection).Class
			if conns[class] == nil {
				conns[class] = dialHTTP(t, addrs[class])
				defer func() { conns[class].conn.Close() }()
			}
			kept, want := conns[class].conn, http.StatusOK
			if check.Want == policy.Denied {
				want = http.StatusForbidden
			}
			waitFor(t, check.Line, func() bool { return conns[class].do(t, *check.Request.HTTP) == want })
			if conns[class].conn != kept {
				t.Errorf("%s: the connection ended", check.Line)
			}
			judged++
		}
	}
	if judged < 4 {
		t.Errorf("only %d requests", judged)
	}
}
