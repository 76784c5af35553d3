package envoy

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestHeaderChanges: what the server gets, and what the event says, is what the oracle
// says, for rules of every kind of mismatch that meet in one class.
func TestHeaderChanges(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	token := func(m policy.Mismatch) []policy.HeaderMatch {
		return []policy.HeaderMatch{{Name: "x-to-ken", Value: exact("v%20 %REQ(:path)%"), Mismatch: m}}
	}
	class := classOf("c",
		policy.HTTPRule{Action: policy.Deny, Path: exact("/deny")},
		policy.HTTPRule{Path: exact("/log"), Headers: token(policy.MismatchLog)},
		policy.HTTPRule{Path: exact("/add"), Headers: token(policy.MismatchAdd)},
		policy.HTTPRule{Path: exact("/delete"), Headers: token(policy.MismatchDelete)},
		policy.HTTPRule{Path: regex("/replace|/deny"), Headers: token(policy.MismatchReplace)},
		policy.HTTPRule{Path: prefix("/there"), Headers: []policy.HeaderMatch{{Name: "x-a", Mismatch: policy.MismatchAdd}}},
		// Both rules' changes are made, of the request as it came.
		policy.HTTPRule{Path: prefix("/two"), Headers: []policy.HeaderMatch{{Name: "x-a", Value: exact("1"), Mismatch: policy.MismatchAdd}}},
		policy.HTTPRule{Path: regex("/two.*"), Headers: []policy.HeaderMatch{
			{Name: "x-a", Value: exact("1")}, {Name: "x-b", Value: exact("2"), Mismatch: policy.MismatchReplace}}},
		// A condition that fails keeps the changes of its rule from being made.
		policy.HTTPRule{Path: exact("/if")},
		policy.HTTPRule{Path: exact("/if"), Headers: []policy.HeaderMatch{
			{Name: "x-a", Value: exact("1")}, {Name: "x-b", Value: exact("2"), Mismatch: policy.MismatchAdd}}},
	)
	addr := e.apply(t, class)["c"]
	draw := rand.New(rand.NewPCG(5, 6))
	changed := 0
	for range 160 {
		req := policy.HTTPRequest{Method: "GET", Host: "h", Header: map[string][]string{},
			Path: pick(draw, "/log", "/add", "/delete", "/replace", "/deny", "/there", "/two", "/if", "/other")}
		for range draw.IntN(3) {
			name := pick(draw, "x-to-ken", "x-to-ken", "x_to-ken", "x-a", "x-b")
			req.Header[name] = append(req.Header[name], pick(draw, "v%20 %REQ(:path)%", "1", "2", ""))
		}
		c := dialHTTP(t, addr)
		code := c.do(t, req)
		c.conn.Close()
		var ev policy.Event
		select {
		case ev = <-e.events:
		case <-time.After(5 * time.Second):
			t.Fatal("no event")
		}
		sent := up.take()
		if class.DecideHTTP(req).Verdict != policy.Forwarded {
			if code != 403 || len(sent) > 0 || ev.HTTP.Mismatched != nil {
				t.Errorf("%+v: got %d, the server %q, %q", req, code, sent, ev.HTTP.Mismatched)
			}
			continue
		}
		if code != 200 || len(sent) != 1 {
			t.Fatalf("%+v: got %d, the server %q", req, code, sent)
		}
		want, mismatched := class.Pass(req)
		if len(mismatched) > 0 {
			changed++
		}
		got := map[string][]string{}
		for _, line := range strings.Split(sent[0], "\r\n")[1:] {
			if name, value, ok := strings.Cut(line, ":"); ok && name != "Host" && name != "host" {
				got[name] = append(got[name], strings.TrimSpace(value))
			}
		}
		if !maps.EqualFunc(got, want, slices.Equal) || !slices.Equal(ev.HTTP.Mismatched, mismatched) {
			t.Errorf("%+v:\nthe server got %q, the oracle says %q\nmismatched %q, %q", req, got, want, ev.HTTP.Mismatched, mismatched)
		}
	}
	if changed < 30 {
		t.Errorf("%d requests were changed: the draw shows nothing", changed)
	}
}
