package envoy

import (
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
			if check.Request.HTTP == nil {
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
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		got <- r.Header
		hello(w, r)
	}))
	addrs := e.apply(t, classes...)
	for _, j := range all {
		c := dialHTTP(t, addrs[j.class.ID])
		code := c.do(t, *j.check.Request.HTTP)
		c.conn.Close()
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
