package requests

import "github.com/septum-dev/septum/policy"

const (
	public = "GET /public HTTP/1.1\r\nHost: h\r\n\r\n"
	secret = "GET /secret HTTP/1.1\r\nHost: h\r\n\r\n"
)

// smuggling has a class that allows GET and POST of /public alone, so a /secret that comes to
// the server in any request has been smuggled.
func smuggling() Table {
	return Table{
		Section: "Smuggling", Name: "GET and POST of one path",
		Rules: []policy.HTTPRule{{Path: exact("/public"), Methods: matches(regex("GET|POST"))}},
		Cases: []Case{
			// What is pipelined behind a refusal is not answered: Envoy ends the connection.
			smuggle("pipelined allow, deny, allow", "GET /public HTTP/1.1\r\nHost: h\r\n\r\n"+secret+"GET /public HTTP/1.1\r\nHost: h\r\n\r\n", []int{200, 403, 0}, []string{public}),
			smuggle("TE and CL", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("two CLs", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("CLs joined", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 0, 35\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("CL with a sign", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: +0\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("TE obfuscated by a tab", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\txchunked\r\n\r\n0\r\n\r\n"+secret, []int{501, 0}, nil),
			smuggle("TE twice", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"+secret, []int{501, 0}, nil),
			smuggle("space before the colon", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("chunk size with a sign", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+0\r\n\r\n"+secret, []int{400, 0}, nil),
			smuggle("no HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400, 0}, nil),
			smuggle("HTTP/0.9, judged as 1.0", "GET /public\r\n\r\n", []int{200, 0}, []string{"GET /public HTTP/1.1\r\nhost: unknown.invalid\r\n\r\n"}),
			smuggle("HTTP/0.9, refused", "GET /secret\r\n\r\n", []int{403}, nil),
			smuggle("a method that is none", "G(T /public HTTP/1.1\r\nHost: h\r\n\r\n", []int{400}, nil),
			smuggle("a lower-case method", "get /public HTTP/1.1\r\nHost: h\r\n\r\n", []int{403}, nil),
			smuggle("no host", "GET /public HTTP/1.1\r\n\r\n", []int{400}, nil),
			smuggle("NUL in a header", "GET /public HTTP/1.1\r\nHost: h\r\nA: b\x00\r\n\r\n", []int{400}, nil),
			smuggle("CR in a header, which is taken out", "GET /public HTTP/1.1\r\nHost: h\r\nA: b\rGET /hidden HTTP/1.1\r\n\r\n", []int{200}, []string{"GET /public HTTP/1.1\r\nHost: h\r\nA: bGET /hidden HTTP/1.1\r\n\r\n"}),
			smuggle("h2c upgrade, then the old protocol", "GET /public HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"+secret, []int{200, 403}, []string{public}),
			smuggle("upgrade of what is refused", "GET /secret HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", []int{403}, nil),
			smuggle("CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n"+secret, []int{403, 0}, nil),
			smuggle("bare LF, which ends a line", "GET /public HTTP/1.1\nHost: h\n\n"+secret, []int{200, 403}, []string{public}),
			smuggle("bare LF behind a chunk", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\nZ\n0\n\n"+secret, []int{400, 0}, nil),
			smuggle("request hidden in a chunk extension", "POST /public HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;a=\nGET /secret HTTP/1.1\r\nZ\r\n0\r\n\r\n", []int{400, 0}, nil),
			smuggle("request hidden in a body", "POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nGET /se", []int{200},
				[]string{"POST /public HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\n\r\nGET /se"}),
			smuggle("spoofed retry, which is taken out", "GET /public HTTP/1.1\r\nHost: h\r\nX-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 9\r\nX-Envoy-Original-Dst-Host: 127.0.0.1:1\r\n\r\n", []int{200}, []string{"GET /public HTTP/1.1\r\nHost: h\r\nX-Envoy-Original-Dst-Host: 127.0.0.1:1\r\n\r\n"}),
		},
	}
}

func smuggle(name, request string, codes []int, arrives []string) Case {
	return Case{Name: name, Method: "GET", Request: request, Codes: codes, Arrives: arrives}
}
