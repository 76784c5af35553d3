package requests

import (
	"strings"

	"github.com/septum-dev/septum/policy"
)

// transparency has requests that must arrive byte for byte. Where a second text stands, the
// proxy writes the same request in another way.
func transparency() Table {
	return Table{
		Section: "Transparency", Name: "everything",
		Rules: []policy.HTTPRule{{}},
		Cases: []Case{
			unchanged("names keep their case", "GET", "GET / HTTP/1.1\r\nHost: H.Example:8080\r\nUser-Agent: x\r\nX-cAsE: v\r\n\r\n", ""),
			unchanged("escaped twice where no rule looks at paths", "GET", "GET /a%252Fb HTTP/1.1\r\nHost: h\r\n\r\n", ""),
			unchanged("escaped slash in the query", "GET", "GET /a?b=%2F%5c HTTP/1.1\r\nHost: h\r\n\r\n", ""),
			unchanged("forwarding headers", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc\r\nVia: x\r\nForwarded: for=1.2.3.4\r\nX-Real-Ip: 1.1.1.1\r\n\r\n", ""),
			unchanged("x-forwarded-proto as Envoy would set it", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Proto: http\r\n\r\n", ""),
			unchanged("body", "POST", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", ""),
			unchanged("TE trailers", "POST", "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nContent-Length: 0\r\n\r\n", ""),
			unchanged("names of Envoy's", "GET", "GET / HTTP/1.1\r\nHost: h\r\nX-Envoy-Original-Path: /b\r\nX-Envoy-Attempt-Count: 7\r\n\r\n", ""),
			unchanged("two values", "GET", "GET / HTTP/1.1\r\nHost: h\r\nA: 1\r\nA: 2\r\nCookie: a=b\r\nCookie: c=d\r\n\r\n", ""),
			unchanged("obs-text", "GET", "GET / HTTP/1.1\r\nHost: h\r\nA: caf\xe9\r\n\r\n", ""),
			unchanged("many and long headers", "GET", "GET / HTTP/1.1\r\nHost: h\r\n"+strings.Repeat("A: b\r\n", 1000)+"L: "+strings.Repeat("l", 200<<10)+"\r\n\r\n", ""),
			unchanged("own method", "PURGE", "PURGE /a HTTP/1.1\r\nHost: h\r\n\r\n", "PURGE /a HTTP/1.1\r\nHost: h\r\ncontent-length: 0\r\n\r\n"),
			unchanged("chunked with trailers", "POST",
				"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
				"POST / HTTP/1.1\r\nHost: h\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n"),
			unchanged("HTTP/1.0", "GET", "GET / HTTP/1.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n"),
			unchanged("HTTP/1.0 without a host", "GET", "GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: unknown.invalid\r\n\r\n"),
		},
	}
}

func unchanged(name, method, request, arrives string) Case {
	if arrives == "" {
		arrives = request
	}
	return Case{Name: name, Method: method, Request: request, Codes: []int{200}, Arrives: []string{arrives}}
}
