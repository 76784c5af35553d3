package envoy

import (
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// TestTraceIDs has a real Envoy log requests with all kinds of headers of W3C's.
func TestTraceIDs(t *testing.T) {
	e := startEnvoy(t, startRaw(t).addr)
	addr := e.apply(t, classOf("c", policy.HTTPRule{Path: exact("/")}))["c"]
	const id = "0af7651916cd43dd8448eb211c80319c"
	for name, c := range map[string]struct {
		values []string
		want   string
	}{
		"none":       {nil, ""},
		"one":        {[]string{"00-" + id + "-b7ad6b7169203331-01"}, id},
		"of later":   {[]string{"cc-" + id + "-b7ad6b7169203331-01-what-comes"}, id},
		"no trace":   {[]string{"00-00000000000000000000000000000000-b7ad6b7169203331-01"}, ""},
		"upper case": {[]string{"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"}, ""},
		"short":      {[]string{"00-0af7-b7ad6b7169203331-01"}, ""},
		"a secret":   {[]string{"Bearer 0123456789abcdef0123456789abcdef"}, ""},
		"not hex":    {[]string{"00-0af7651916cd43dd8448eb211c80319z-b7ad6b7169203331-01"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			req := policy.HTTPRequest{Method: "GET", Host: "h", Path: "/", Header: map[string][]string{}}
			if c.values != nil {
				req.Header["traceparent"] = c.values
			}
			conn := dialHTTP(t, addr)
			defer conn.conn.Close()
			if code := conn.do(t, req); code != 200 {
				t.Fatalf("the status is %d", code)
			}
			select {
			case ev := <-e.events:
				if ev.HTTP.TraceID != c.want {
					t.Errorf("the trace is %q and should be %q", ev.HTTP.TraceID, c.want)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("no event")
			}
		})
	}
}
