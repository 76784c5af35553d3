package policy

import "testing"

// What a real Envoy 1.40 with normalize_path and merge_slashes forwards; "" is a 400.
func TestNormalizePath(t *testing.T) {
	for in, want := range map[string]string{
		"/a":               "/a",
		"/a/../b":          "/b",
		"/a/./b":           "/a/b",
		"/a//b":            "/a/b",
		"/a//../b":         "/a/b",
		"/a/%2e%2e/b":      "/b",
		"/a/%2E./b":        "/b",
		"/a/..":            "/",
		"/a/.":             "/a/",
		"/..":              "/",
		"/%61bc":           "/abc",
		"/%7Ea":            "/~a",
		"/%41%2d%5f":       "/A-_",
		"/a%2fb":           "/a%2fb",
		"/a%5Cb":           "/a%5Cb",
		`/a\b`:             "/a/b",
		`/a\..\b`:          "/b",
		"/a?x=1/../b":      "/a?x=1/../b",
		"/a?x=%2f":         "/a?x=%2f",
		"/a#f":             "",
		"/a?x#f":           "",
		"*":                "",
		"a/b":              "",
		"":                 "",
		"/a;x=1":           "/a;x=1",
		"/..;/b":           "/b",
		"/a/..;x/b":        "/b",
		"/a/.;x/b":         "/a/b",
		"/\"<>`{}|^[]":     "/%22%3C%3E%60%7B%7D%7C%5E[]",
		"/a%zz":            "/a%zz",
		"/%00":             "",
		"/a%20b":           "/a%20b",
		"/%e4":             "/%e4",
		"/\xe4":            "",
		"//":               "//",
		"///":              "//",
		"/a//":             "/a/",
		"///a":             "/a",
		"/a/...":           "/a/...",
		"/.a":              "/.a",
		"/a/b/../../../c":  "/c",
		"/a/..//b":         "/b",
		"/a\tb":            "",
		"/a/%2e":           "/a/",
		"/a%2eb":           "/a.b",
		"/a/.%2e/":         "/",
		"/%25%32%65":       "/%252e",
		"/a%3fb":           "/a%3fb",
		"/a'b!$&()*+,:@=~": "/a'b!$&()*+,:@=~",
		"?x":               "",
		"/?x":              "/?x",
		"/\x7f":            "",
		"/a/%2e%2e;x/b":    "/a/..;x/b",
		"/a/..;/?x=..;":    "/?x=..;",
		"/a%":              "/a%",
	} {
		got, ok := NormalizePath(in)
		if ok != (want != "") || ok && got != want {
			t.Errorf("NormalizePath(%q) = %q, %v, want %q", in, got, ok, want)
		}
	}
}
