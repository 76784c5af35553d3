package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGet(t *testing.T) {
	server := httptest.NewServer((&service{}).seen("backend"))
	defer server.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()

	for _, test := range []struct {
		name, method, url, want string
	}{
		{"answer", "GET", server.URL + "/data", "200 backend here: GET /data from 127.0.0.1"},
		{"with a body", "POST", server.URL + "/data", "200 backend here: POST /data from 127.0.0.1"},
		{"refused", "GET", closed.URL, "no answer: connection refused"},
		{"silent", "GET", silent.URL, "no answer: timed out after 200ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, err := get(context.Background(), request{method: test.method, url: test.url, timeout: 200 * time.Millisecond})
			got := a.String()
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestLoad(t *testing.T) {
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; requests > 3 {
			w.WriteHeader(http.StatusForbidden)
		}
		if r.URL.Path == "/close" {
			w.Header().Set("Connection", "close")
		}
	}))
	defer server.Close()

	for _, test := range []struct {
		name, path string
		plan       plan
		fails      bool
		want       string
	}{
		{"a change is seen", "/", plan{same: true}, false, "s 403\n"},
		{"an unexpected status fails", "/", plan{expect: 200}, true, "s 403\n"},
		{"a second connection fails", "/close", plan{same: true, expect: 200}, true, "no answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			requests = 0
			var out strings.Builder
			test.plan.length, test.plan.every = 300*time.Millisecond, 10*time.Millisecond
			err := load(context.Background(), &out, request{method: "GET", url: server.URL + test.path, timeout: time.Second}, test.plan)
			if (err != nil) != test.fails || !strings.Contains(out.String(), test.want) {
				t.Errorf("err %v, out %q; want failure %v and %q", err, out.String(), test.fails, test.want)
			}
		})
	}
}

// TestServe has one server asked in all its ways, on one port.
func TestServe(t *testing.T) {
	s := &service{listen: freePort(t)}
	s.dns = s.listen
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	fetch := func(method, url string, header http.Header) string {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			a, err := get(ctx, request{method: method, url: url, header: header, connect: s.listen, timeout: 5 * time.Second})
			if err == nil {
				return a.String()
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
	for _, url := range []string{"http://" + s.listen + "/data", "https://any.example/data"} {
		if got := fetch("GET", url, nil); !strings.HasPrefix(got, "200 ") || !strings.HasSuffix(got, "GET /data from 127.0.0.1") {
			t.Errorf("%s: %q", url, got)
		}
	}
	fetch("POST", "http://"+s.listen+"/records", http.Header{"Record": {"www.example=203.0.113.7", "www.example=2001:db8::1"}})
	for name, want := range map[string]string{"WWW.example.": "NOERROR 203.0.113.7", "other.example": "NOERROR 192.0.2.53"} {
		for _, tcp := range []bool{false, true} {
			if got, err := lookup(ctx, question{server: s.listen, name: name, tcp: tcp, timeout: 5 * time.Second}); err != nil || got != want {
				t.Errorf("%s, TCP %v: %q (%v), want %q", name, tcp, got, err, want)
			}
		}
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}
