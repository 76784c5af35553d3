package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestGet(t *testing.T) {
	server := httptest.NewServer(seen("backend"))
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
