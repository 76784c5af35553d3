package requests

import (
	"strings"

	"github.com/septum-dev/septum/policy"
)

// paths are sent to a class that allows prefixes and refuses /admin in no rule: what comes
// to the server must be what an allow rule matches as the server reads it.
func paths() Table {
	long := strings.Repeat("a", 64<<10)
	return Table{
		Section: "Path", Name: "allowed by a prefix or an expression",
		Rules: []policy.HTTPRule{
			{Path: prefix("/public/")},
			{Path: regex("/files/[a-z.]+")},
			{Path: exact("/exact")},
			{Path: regex("/v1.0/x")},
		},
		Cases: []Case{
			get("plain", "/public/a", 200, "/public/a"),
			get("case kept, unreserved unescaped", "/public/A%7Ea%3a", 200, "/public/A~a%3a"),
			get("query untouched", "/public/a?x=../%2e%2f//&y=%252e", 200, "/public/a?x=../%2e%2f//&y=%252e"),
			get("matrix parameters", "/public/a;v=1", 200, "/public/a;v=1"),
			get("64 KiB", "/public/"+long, 200, "/public/"+long),
			get("dot dot", "/public/../admin", 403, ""),
			get("dot dot inside", "/public/a/../b", 200, "/public/b"),
			get("escaped dots", "/public/%2e%2e/admin", 403, ""),
			get("escaped dots, upper case", "/public/%2E%2E/admin", 403, ""),
			get("half escaped dots", "/public/.%2e/admin", 403, ""),
			get("escaped slash", "/public/..%2fadmin", 403, ""),
			get("escaped slash, upper case", "/public/..%2Fadmin", 403, ""),
			get("escaped backslash", "/public/..%5cadmin", 403, ""),
			get("backslash", `/public/..\admin`, 403, ""),
			get("double slash", "/public//../admin", 200, "/public/admin"),
			get("leading double slash", "//public/a", 200, "/public/a"),
			get("double encoding", "/public/%252e%252e/admin", 403, ""),
			get("double encoding of a letter, allows alone", "/public/%2561", 200, "/public/%2561"),
			get("double encoded slash", "/public/..%252fadmin", 403, ""),
			get("overlong UTF-8 dot", "/public/%c0%ae%c0%ae/admin", 403, ""),
			get("overlong UTF-8 slash", "/public/..%c0%afadmin", 403, ""),
			get("overlong UTF-8 slash of three bytes", "/public/..%e0%80%afadmin", 403, ""),
			get("Latin-1", "/public/caf%E9", 200, "/public/caf%E9"),
			get("UTF-8", "/public/caf%C3%A9", 200, "/public/caf%C3%A9"),
			get("NUL", "/public/%00/admin", 400, ""),
			get("fragment", "/public/#/../admin", 400, ""),
			get("fragment that hides", "/admin#/public/", 400, ""),
			get("dot dot with a parameter", "/public/..;/admin", 403, ""),
			get("escaped dots with a parameter", "/public/%2e%2e;x/admin", 403, ""),
			get("half escaped dots with a parameter", "/public/.%2E;/admin", 403, ""),
			get("dots with an escaped parameter", "/public/..%3b/admin", 403, ""),
			get("an empty segment with a parameter", "/public/;x/admin", 200, "/public/;x/admin"),
			get("raw bytes that are not ASCII", "/public/\xc0\xae\xc0\xae/admin", 400, ""),
			get("escapes that make an escape", "/public/%%32%66admin", 403, ""),
			get("case", "/PUBLIC/a", 403, ""),
			get("exact with slash", "/exact/", 403, ""),
			get("exact with more", "/exactly", 403, ""),
			get("exact with query", "/exact?x=1", 403, ""),
			get("exact with parameter", "/exact;x", 403, ""),
			get("escaped letter", "/%65xact", 200, "/exact"),
			get("escaped letter, refused", "/%61dmin", 403, ""),
			get("anchored", "/files/a/../../x/files/a", 403, ""),
			get("anchored at the end", "/files/a/b", 403, ""),
			get("dot of an expression", "/v1.0/x", 200, "/v1.0/x"),
			get("dot of an expression is any character", "/v1x0/x", 200, "/v1x0/x"),
			{Name: "absolute form", Method: "GET", Request: line("http://other.example/public/a"), Codes: []int{200},
				Arrives: []string{"GET /public/a HTTP/1.1\r\nHost: other.example\r\n\r\n"}},
			get("absolute form, refused", "http://other.example/admin", 403, ""),
			get("absolute form without a path", "http://other.example", 403, ""),
			get("asterisk", "*", 400, ""),
			get("no slash", "public/a", 400, ""),
			get("nothing above the root", "/../../public/a", 200, "/public/a"),
		},
	}
}
