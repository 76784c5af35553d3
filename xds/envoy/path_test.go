package envoy

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/septum-dev/septum/policy"
)

// TestNormalization: what comes to the server is what the model says.
func TestNormalization(t *testing.T) {
	up := startRaw(t)
	e := startEnvoy(t, up.addr)
	c := dialHTTP(t, e.apply(t, classOf("c", policy.HTTPRule{}))["c"])
	draw := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var b strings.Builder
		b.WriteString("/")
		for range 1 + draw.IntN(5) {
			b.WriteString(pick(draw, "a", "B", "/", "/", ".", "..", "/../", "/./", "//", "%2e", "%2E", "%41", "%7e", "%7E", "%2d", "%5F", "%30", `\`, ";", ";x", "%20", "%3a", "%c3%a9", "%C3%A9", "%zz", "%", "%4", "\xc3\xa9", "\xff", "~", "!", "$&'()*+,=:@", "|", "^", "[", "]", "<", ">", `"`, "{", "}", "`", "?", "?a=%41&b=/../", "%3f", "%23", "%25"))
		}
		path := b.String()
		code := c.do(t, policy.HTTPRequest{Method: "GET", Path: path, Host: "h"})
		got := ""
		for _, r := range up.take() {
			got, _, _ = strings.Cut(strings.TrimPrefix(r, "GET "), " HTTP/1.1")
		}
		want, ok := normalizedPath(path)
		if ok && got == want || !ok && code == 400 {
			continue
		}
		t.Errorf("%q: Envoy says %d %q, the model %q, %v", path, code, got, want, ok)
	}
}

// normalizedPath is a model of what Envoy does to a path. It returns a request's path as it is judged and forwarded, the query as it
// came, with normalize_path and merge_slashes: what is unreserved is
// unescaped, what must be escaped is, dot segments go (also those with parameters, "..;x"),
// and slashes are merged. False is a path that is refused: with an escaped slash or
// backslash, a fragment, a byte that is not ASCII, or none at all.
func normalizedPath(target string) (string, bool) {
	path, query := target, ""
	if i := strings.IndexByte(target, '?'); i >= 0 {
		path, query = target[:i], target[i:]
	}
	if strings.ContainsRune(target, '#') || !strings.HasPrefix(path, "/") || hasEscapedSlash(path) || !isASCII(target) {
		return "", false
	}
	return mergeSlashes(removeDots(strings.ReplaceAll(path, `\`, "/"))) + query, true
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

func hasEscapedSlash(path string) bool {
	lower := strings.ToLower(path)
	return strings.Contains(lower, "%2f") || strings.Contains(lower, "%5c")
}

// canonicalBytes writes each byte as Envoy's URL library does: an escape of what is
// unreserved in RFC 3986 is that, and bytes that must be escaped are. A "%" that begins no
// escape stays, unless it would then seem to begin one.
func canonicalBytes(segment string) string {
	const hex, lone = "0123456789ABCDEF", 0
	var b []byte
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		escape := c == '%' && i+2 < len(segment) && unhex(segment[i+1]) >= 0 && unhex(segment[i+2]) >= 0
		switch {
		case escape && isUnreserved(segment[i+1:i+3]):
			b = append(b, byte(unhex(segment[i+1])<<4|unhex(segment[i+2])))
			i += 2
		case c == '%' && !escape:
			b = append(b, lone)
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>^`{|}", c) >= 0:
			b = append(b, '%', hex[c>>4], hex[c&15])
		default:
			b = append(b, c)
		}
	}
	var out strings.Builder
	for i, c := range b {
		switch {
		case c != lone:
			out.WriteByte(c)
		case i+2 < len(b) && unhex(b[i+1]) >= 0 && unhex(b[i+2]) >= 0:
			out.WriteString("%25")
		default:
			out.WriteByte('%')
		}
	}
	return out.String()
}

// unhex returns a digit's value, or -1.
func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// isUnreserved says whether two digits stand for a character that needs no escape.
func isUnreserved(digits string) bool {
	c := byte(unhex(digits[0])<<4 | unhex(digits[1]))
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// removeDots writes the segments canonically and removes "." and "..", also those with
// parameters where the dots are not escaped; ".." takes the segment before it away, be it empty.
func removeDots(path string) string {
	segments := strings.Split(path, "/")[1:]
	var out []string
	for i, raw := range segments {
		last := i == len(segments)-1
		s := canonicalBytes(raw)
		name, _, parameters := strings.Cut(raw, ";")
		if !parameters {
			name = s
		}
		switch name {
		case ".":
		case "..":
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/")
}

// mergeSlashes leaves two of a path that is nothing but slashes, as Envoy does.
func mergeSlashes(path string) string {
	if len(path) > 1 && strings.Trim(path, "/") == "" {
		return "//"
	}
	for strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	return path
}
