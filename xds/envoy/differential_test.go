package envoy

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestAgreesWithOracle judges many requests by many small classes, in Envoy and by
// policy.DecideHTTP. Rules and requests are drawn from few words, so that they meet.
func TestAgreesWithOracle(t *testing.T) {
	const classes, requests = 120, 40
	e := startEnvoy(t, echo(t, hello))
	e.events = make(chan policy.Event, classes*requests)
	draw := rand.New(rand.NewPCG(1, 2))
	var all []policy.Class
	for i := range classes {
		all = append(all, randomClass(draw, i))
	}
	addrs := e.apply(t, all...)
	for _, class := range all {
		var sent []policy.HTTPRequest
		for range requests {
			sent = append(sent, randomRequest(draw))
		}
		e.agree(t, class, addrs[class.ID], sent)
		if t.Failed() {
			break
		}
	}
}

// agree sends requests to a class, on one connection, and compares what becomes of them, and
// what is told of them, with what the oracle says.
func (e *realEnvoy) agree(t testing.TB, class policy.Class, addr string, requests []policy.HTTPRequest) {
	t.Helper()
	c := dialHTTP(t, addr)
	defer func() { c.conn.Close() }()
	for _, req := range requests {
		want := class.DecideHTTP(req)
		if code := c.do(t, req); code != 200 && code != 403 && code != 400 || (code == 200) != (want.Verdict != policy.Denied) {
			t.Errorf("%+v\nby %+v:\nEnvoy says %d, the oracle %+v", req, class, code, want)
		}
	}
	for _, req := range requests { // one connection's events come in order
		select {
		case ev := <-e.events:
			if want := class.DecideHTTP(req); ev.Verdict != want.Verdict || !explains(class, ev.Rule, req, want) {
				t.Errorf("%+v\nby %+v:\nthe event says %d by %v, the oracle %+v", req, class, ev.Verdict, ev.Rule, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
		}
	}
}

// explains says whether a rule alone would have decided so: where several rules match,
// Envoy's tree may find another than the first of the list.
func explains(class policy.Class, id policy.RuleID, req policy.HTTPRequest, want policy.Decision) bool {
	if id == want.Rule {
		return true
	}
	for _, r := range class.HTTP {
		if r.ID == id {
			alone := policy.Class{HTTP: []policy.HTTPRule{r}, Audit: class.Audit, AllowAll: class.AllowAll, AuditRest: class.AuditRest, AuditAll: class.AuditAll}
			d := alone.DecideHTTP(req)
			return d.Verdict == want.Verdict && d.Rule == id
		}
	}
	return false
}

func pick[T any](draw *rand.Rand, of ...T) T { return of[draw.IntN(len(of))] }

func randomClass(draw *rand.Rand, i int) policy.Class {
	var rules []policy.HTTPRule
	for range draw.IntN(6) {
		rule := policy.HTTPRule{Path: randomPathMatch(draw)}
		if draw.IntN(4) == 0 {
			rule.Action = policy.Deny
		}
		rule.Audit = draw.IntN(3) == 0
		for range draw.IntN(3) {
			rule.Methods = append(rule.Methods, pick(draw, exact("GET"), exact("POST"), regex("GET|PUT"), regex("P.*"), regex("P(U|OS)T"), prefix("DEL")))
		}
		if draw.IntN(3) == 0 {
			rule.Hosts = matches(pick(draw, exact("a.example"), exact("B.example"), regex(`[ab]\.example`), regex(`.*`), prefix("a.")))
		}
		for range max(0, draw.IntN(4)-1) {
			rule.Headers = append(rule.Headers, policy.HeaderMatch{
				Name:  pick(draw, "x-a", "x-b", "x-forwarded-proto"),
				Value: pick(draw, exact("1"), exact("12"), prefix("1"), regex("[12]+"), regex("https?"), policy.StringMatch{}),
			})
		}
		rules = append(rules, rule)
	}
	class := classOf(policy.ClassID(fmt.Sprintf("c%d", i)), rules...)
	if draw.IntN(6) == 0 {
		id := ruleID("spec.ingress[1]")
		class.AllowAll, class.AuditRest = &id, draw.IntN(2) == 0
	}
	switch class.Audit = draw.IntN(8) == 0; {
	case !class.Audit && draw.IntN(6) == 0:
		id := ruleID("spec.ingress[2]")
		class.AuditAll = &id
	case draw.IntN(6) == 0: // a policy that audits alone
		for i := range class.HTTP {
			class.HTTP[i].Audit = true
		}
	}
	return class
}

func randomPathMatch(draw *rand.Rand) policy.StringMatch {
	return pick(draw,
		policy.StringMatch{}, exact("/"), exact("/a"), exact("/a/b"), exact("/a?x=1"), exact("/b/"),
		prefix("/"), prefix("/a"), prefix("/a/"), prefix("/a/b"),
		regex("/a"), regex("/a|/b"), regex("/(a|b)/.*"), regex("/a/?"), regex("/.*b"), regex("/a.*|/c"), regex("/a/[a-c]"),
		regex("(?i)/A"), regex(".*"), regex("/a/.+"), regex("/[^/]*"), regex("/a(/b)?.*"), regex("^/a$"), regex("/a{2}"), regex(""),
	)
}

func randomRequest(draw *rand.Rand) policy.HTTPRequest {
	req := policy.HTTPRequest{
		Method: pick(draw, "GET", "GET", "POST", "PUT", "DELETE", "PATCH"),
		Path: pick(draw, "/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/b/", "/c", "/a?x=1", "/a/b?y", "/aa", "/ab", "/A", "//a", "/a/../b", "/x/./a",
			"/a/%2e%2e/b", "/a%3Ab", "/b/a/b", "/a?y=/b", "/b/?y?z", "/a%2fb", "/a%252e", "/a%2561", "/a%c0%aeb", "/a%e0%80%af", "/a/%2e%2e;/b", "/a%2e%3b", "/a;x", "/a?%2f", "/a/..%3Bx", "/a/%25%32%66"),
		Host:   pick(draw, "a.example", "A.Example", "b.example:80", "b.example.", "c.example", "a.example.:8080", "a.example,b.example"),
		Header: map[string][]string{},
	}
	for range draw.IntN(4) {
		name := pick(draw, "x-a", "x-a", "x-a", "x-b", "x-b", "x_a", "x-forwarded-proto")
		value := pick(draw, "1", "12", "2", "3", "http", "", "1,1", "1, 2", "2,1")
		if name == "x-forwarded-proto" && value == "" {
			value = "https" // Envoy answers an empty one 404
		}
		req.Header[name] = append(req.Header[name], value)
	}
	return req
}

// httpConn is one connection on which requests are written as they are.
type httpConn struct {
	addr string
	conn net.Conn
	r    *bufio.Reader
	// body is that of the last answer.
	body string
}

func dialHTTP(t testing.TB, addr string) *httpConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return &httpConn{addr: addr, conn: c, r: bufio.NewReader(c)}
}

// do returns the status; the connection is made anew where the answer ends it.
func (c *httpConn) do(t testing.TB, req policy.HTTPRequest) int {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", req.Method, req.Path, req.Host)
	for name, values := range req.Header {
		for _, v := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, v)
		}
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(c.r, &http.Request{Method: req.Method})
	if err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	c.body = string(body)
	if res.Close {
		c.conn.Close()
		*c = *dialHTTP(t, c.addr)
	}
	if res.Header.Get("Grpc-Status") == "7" {
		return http.StatusForbidden // as a gRPC client is told
	}
	return res.StatusCode
}
