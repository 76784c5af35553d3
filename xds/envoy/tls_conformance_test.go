package envoy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/clienthello"
	"github.com/septum-dev/septum/test/conformance"
)

// TestConformanceTLS sends every TLS connection of the truth table that reaches a class,
// and what comes to a class of TLS without being TLS, through a real Envoy.
func TestConformanceTLS(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	upstream, _ := listener(t)
	e := startEnvoy(t, upstream)
	type judged struct {
		class policy.ClassID
		check conformance.Check
		want  policy.Decision
	}
	var all []judged
	var classes []policy.Class
	for _, c := range cases {
		for _, check := range c.Requests {
			np := c.Node(check.Node)
			want := policy.Decide(np, check.Request)
			i := slices.IndexFunc(np.Classes, func(c policy.Class) bool { return want.Class != "" && c.ID == want.Class })
			if i < 0 || check.Request.TLS == nil && (check.Request.HTTP == nil || !np.Classes[i].IsTLS()) {
				continue
			}
			if want.Verdict == policy.Redirected || check.Request.TLS != nil && check.Request.HTTP != nil {
				continue // TestConformanceInspection's
			}
			class := np.Reveal(np.Classes[i])
			class.ID = policy.ClassID(c.Name + "/" + check.Node + "/" + string(class.ID))
			if !slices.ContainsFunc(classes, func(other policy.Class) bool { return other.ID == class.ID }) {
				classes = append(classes, class)
			}
			all = append(all, judged{class.ID, check, want})
		}
	}
	if len(all) < 25 {
		t.Fatalf("%d connections of the table are for Envoy: has it lost its TLS?", len(all))
	}
	for _, c := range classes {
		for _, id := range c.Secrets() { // only what is passed on is asked for here
			e.addSecret(t, id, newTestCA(t, "any"), newTestCA(t, "any"))
		}
	}
	addrs := e.apply(t, classes...)
	time.Sleep(3 * logInterval)
	for len(e.events) > 0 {
		<-e.events
	}
	for _, j := range all {
		c, err := net.Dial("tcp", addrs[j.class])
		if err != nil {
			t.Fatal(err)
		}
		var hello []byte
		if r := j.check.Request; r.TLS == nil {
			hello = fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\n\r\n", r.HTTP.Method, r.HTTP.Path, r.HTTP.Host)
		} else if r.TLS.ServerName == "" {
			hello = clienthello.Of()
		} else {
			hello = clienthello.Of(clienthello.SNI(r.TLS.ServerName))
		}
		c.SetDeadline(time.Now().Add(10 * time.Second))
		_, _ = c.Write(hello)
		answer, err := io.ReadAll(c)
		c.Close()
		if passed := strings.HasSuffix(string(answer), "passed"); passed != (j.check.Want != policy.Denied) {
			t.Errorf("%s: %s\n got %q, %v", j.class, j.check.Line, answer, err)
		}
		select {
		case ev := <-e.events:
			if ev.Verdict != j.want.Verdict || ev.Rule != j.want.Rule {
				t.Errorf("%s: %s\n the event says %d by %+v, %s", j.class, j.check.Line, ev.Verdict, ev.Rule, ev.DropReason)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s: %s\n no event", j.class, j.check.Line)
		}
	}
	t.Logf("%d connections, %d classes", len(all), len(classes))
}

// addSecret makes up a secret: certificates are the one authority's, and authorities the other.
func (e *realEnvoy) addSecret(t *testing.T, id policy.SecretID, shown, servers testCA) {
	t.Helper()
	if slices.ContainsFunc(e.secrets, func(s policy.Secret) bool { return s.ID == id }) {
		return
	}
	s := policy.Secret{ID: id, Value: servers.pem}
	if strings.HasPrefix(string(id), "certificate/") || strings.HasPrefix(string(id), "issued/") {
		s.Value, s.Key = shown.leaf(t, "shown")
	}
	e.secrets = append(e.secrets, s)
	slices.SortFunc(e.secrets, policy.CompareSecrets)
}

// TestConformanceInspection sends every request inside of TLS of the truth table through a
// real Envoy, to a server that has a certificate for all of their names.
func TestConformanceInspection(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	shown, servers := newTestCA(t, "shown"), newTestCA(t, "servers")
	names := []string{"server"}
	for _, c := range cases {
		for _, check := range c.Requests {
			if r := check.Request; r.TLS != nil && r.HTTP != nil && !slices.Contains(names, r.TLS.ServerName) {
				names = append(names, r.TLS.ServerName)
			}
		}
	}
	e := startEnvoy(t, httpsServer(t, &tls.Config{Certificates: []tls.Certificate{servers.pair(t, names...)}}, true))
	judged := 0
	for _, c := range cases {
		for _, check := range c.Requests {
			np := c.Node(check.Node)
			want := policy.Decide(np, check.Request)
			i := slices.IndexFunc(np.Classes, func(c policy.Class) bool { return want.Class != "" && c.ID == want.Class })
			if i < 0 || check.Request.TLS == nil || check.Request.HTTP == nil {
				continue
			}
			class := np.Reveal(np.Classes[i])
			for _, id := range class.Secrets() {
				if id != "sealed" {
					e.addSecret(t, id, shown, servers)
				}
			}
			addr := e.apply(t, class)[class.ID]
			r := check.Request
			code, _, _, err := asks(addr, r.TLS.ServerName, r.HTTP.Path, &tls.Config{InsecureSkipVerify: true}, true)
			if passed := err == nil && code == 200; passed != (check.Want != policy.Denied) || err == nil && code != 200 && code != 403 {
				t.Errorf("%s: %s\n got %d, %v", c.Name, check.Line, code, err)
			}
			judged++
		}
	}
	if judged < 10 {
		t.Errorf("only %d requests of the table are inside of TLS", judged)
	}
}
