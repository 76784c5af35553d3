package envoy

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestNormalizesAsOracle: what comes to the server is what policy.NormalizePath says.
func TestNormalizesAsOracle(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	class := classOf("c", policy.HTTPRule{})
	class.Audit = true // what could be read in two ways goes on
	c := dialHTTP(t, e.apply(t, class)["c"])
	draw := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var b strings.Builder
		b.WriteString("/")
		for range 1 + draw.IntN(5) {
			b.WriteString(pick(draw, "a", "B", "/", "/", ".", "..", "/../", "/./", "//", "%2e", "%2E", "%41", "%7e", "%7E", "%2d", "%5F", "%30", `\`, ";", ";x", "%20", "%2f", "%5C", "%252e", "%c0%ae", "%3b", "%3a", "%c3%a9", "%C3%A9", "%zz", "\xc3\xa9", "\xff", "~", "!", "$&'()*+,=:@", "|", "^", "[", "]", "<", ">", `"`, "{", "}", "`", "?", "?a=%41&b=/../", "%3f", "%23", "%25"))
		}
		path := b.String()
		code := c.do(t, policy.HTTPRequest{Method: "GET", Path: path, Host: "h"})
		got := ""
		for _, r := range up.take() {
			got, _, _ = strings.Cut(strings.TrimPrefix(r, "GET "), " HTTP/1.1")
		}
		want, ok := policy.NormalizePath(path)
		if ok && got == want || !ok && code == 400 {
			continue
		}
		t.Errorf("%q: Envoy says %d %q, the oracle %q, %v", path, code, got, want, ok)
	}
}
