package requests

import (
	"strings"

	"github.com/septum-dev/septum/policy"
)

// headers has rules on headers, hosts and methods, an allow and a deny of each.
func headers() Table {
	return Table{
		Section: "Header, host, method", Name: "headers",
		Rules: []policy.HTTPRule{
			{Action: policy.Deny, Headers: []policy.HeaderMatch{{Name: "x-debug", Value: exact("1")}}},
			{Action: policy.Deny, Headers: []policy.HeaderMatch{{Name: "x-agent", Value: regex("bad.*")}}},
			{Action: policy.Deny, Hosts: matches(exact("admin.example"))},
			{Path: exact("/token"), Headers: []policy.HeaderMatch{{Name: "x-token", Value: exact("v")}}},
			{Path: exact("/prefix"), Headers: []policy.HeaderMatch{{Name: "x-token", Value: prefix("v")}}},
			{Path: exact("/regex"), Headers: []policy.HeaderMatch{{Name: "x-token", Value: regex("v.*")}}},
			{Path: exact("/there"), Headers: []policy.HeaderMatch{{Name: "x-token"}}},
			{Path: exact("/host"), Hosts: matches(exact("good.example"), regex(`[a-z]+\.fine\.example`))},
			{Path: exact("/any")},
			{Path: exact("/get"), Methods: matches(exact("GET"))},
		},
		Cases: []Case{
			field("token", "/token", "X-Token: v", 200),
			field("token missing", "/token", "A: b", 403),
			field("token other", "/token", "X-Token: w", 403),
			field("token longer", "/token", "X-Token: vv", 403),
			field("token in other case", "/token", "X-Token: V", 403),
			field("token twice", "/token", "X-Token: v\r\nX-Token: v", 200),
			field("token and another", "/token", "X-Token: v\r\nX-Token: w", 403),
			field("another and token", "/token", "X-Token: w\r\nx-token: v", 403),
			field("token joined by a comma", "/token", "X-Token: v, w", 403),
			field("token and its double", "/token", "X-Token: v\r\nX_Token: w", 403),
			field("only its double", "/token", "X_Token: v", 403),
			field("token folded", "/token", "X-Token: v\r\n w", 403),
			field("token named in Connection", "/token", "X-Token: v\r\nConnection: x-token", 403),
			field("other name with an underscore", "/token", "X-Token: v\r\nOther_Name: w", 200),
			field("prefix", "/prefix", "X-Token: very", 200),
			field("prefix with a comma", "/prefix", "X-Token: very, much", 200),
			field("prefix in one line of two", "/prefix", "X-Token: very\r\nX-Token: no", 403),
			field("prefix in both lines", "/prefix", "X-Token: very\r\nX-Token: vow", 200),
			field("expression", "/regex", "X-Token: very", 200),
			field("expression with a comma", "/regex", "X-Token: very (like, much)", 200),
			field("expression in one line of two", "/regex", "X-Token: very\r\nX-Token: no", 403),
			field("there", "/there", "X-Token: ", 200),
			field("not there", "/there", "X-Toke: v", 403),

			field("deny", "/any", "X-Debug: 1", 403),
			field("deny does not hold", "/any", "X-Debug: 0", 200),
			field("deny hidden behind a second value", "/any", "X-Debug: 1\r\nX-Debug: 0", 403),
			field("deny hidden behind a first value", "/any", "X-Debug: 0\r\nX-Debug: 1", 403),
			field("deny by its double", "/any", "X_Debug: 1", 403),
			field("deny hidden behind an obs-text value", "/any", "X-Debug: 1\r\nX-Debug: \xff", 403),
			field("deny by expression", "/any", "X-Agent: badger", 403),
			field("deny by expression hidden by obs-text", "/any", "X-Agent: bad\xff", 403),
			field("deny by expression hidden behind another", "/any", "X-Agent: \xff\r\nX-Agent: bad", 403),
			field("denied host", "/any", "Host: admin.example", 403),
			field("denied host in other case", "/any", "Host: Admin.EXAMPLE", 403),
			field("denied host with a port", "/any", "Host: admin.example:8080", 403),
			field("denied host with a dot", "/any", "Host: admin.example.", 403),
			field("denied host with a dot and a port", "/any", "Host: admin.example.:80", 403),
			field("two hosts", "/any", "Host: h\r\nHost: admin.example", 403),

			field("host", "/host", "Host: good.example", 200),
			field("host in other case, with a port", "/host", "Host: Good.Example:8080", 200),
			field("host by expression", "/host", "Host: a.Fine.example", 200),
			field("host with a prefix", "/host", "Host: xgood.example", 403),
			field("host with an end", "/host", "Host: good.example.evil", 403),
			field("host with user", "/host", "Host: good.example@evil", 403),
			field("spoofed forwarding headers", "/host", "Host: other\r\nX-Forwarded-Host: good.example\r\nX-Original-URL: /any", 403),
			field("method override", "/other", "X-HTTP-Method-Override: GET", 403),
		},
	}
}

// field is a request with more header lines; it is allowed if the code is 200.
func field(name, path, lines string, code int) Case {
	if !strings.Contains(lines, "Host:") {
		lines = "Host: h\r\n" + lines
	}
	c := Case{Name: name, Method: "GET", Request: "GET " + path + " HTTP/1.1\r\n" + lines + "\r\n\r\n", Codes: []int{code}}
	if code == 200 {
		c.Arrives = []string{c.Request}
	}
	return c
}
