package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// serve answers each request with the body given for "METHOD path", else 404.
func serve(t *testing.T, bodies map[string]string) (*api, *[]string) {
	t.Helper()
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = append(seen, r.Method+" "+r.URL.Path)
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		body, ok := bodies[r.Method+" "+r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return &api{client: server.Client(), base: server.URL, token: "secret", namespace: "septum-system"}, &seen
}

func TestStopped(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"none left": {`{"items":[]}`, true},
		"one left":  {`{"items":[{"metadata":{"name":"septum-enforcer-x"}}]}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			api, _ := serve(t, map[string]string{"GET /api/v1/namespaces/septum-system/pods": tt.body})
			got, waiting, err := api.stopped(context.Background())
			if err != nil || got != tt.want {
				t.Errorf("stopped() = %v, %q, %v; want %v", got, waiting, err, tt.want)
			}
		})
	}
}

func TestClean(t *testing.T) {
	for name, tt := range map[string]struct {
		body string
		want bool
	}{
		"all nodes":         {`{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":2,"numberReady":2}}`, true},
		"one of two":        {`{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":2,"numberReady":1}}`, false},
		"not yet looked at": {`{"metadata":{"generation":1},"status":{}}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			api, _ := serve(t, map[string]string{"GET /apis/apps/v1/namespaces/septum-system/daemonsets/septum-cleanup": tt.body})
			got, waiting, err := api.clean(context.Background())
			if err != nil || got != tt.want {
				t.Errorf("clean() = %v, %q, %v; want %v", got, waiting, err, tt.want)
			}
		})
	}
}

func TestRemoveWritten(t *testing.T) {
	secret := "DELETE /api/v1/namespaces/septum-system/secrets/septum-ca"
	reader := "DELETE /api/v1/namespaces/septum-system/secrets/septum-flow-reader"
	lease := "DELETE /apis/coordination.k8s.io/v1/namespaces/septum-system/leases/septum-operator"
	// The ConfigMap is gone already: that is no error.
	api, seen := serve(t, map[string]string{secret: `{}`, reader: `{}`, lease: `{}`})
	if err := api.removeWritten(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{secret, reader, lease} {
		if !slices.Contains(*seen, want) {
			t.Errorf("no request %q; seen %q", want, *seen)
		}
	}
	api.token = "wrong"
	if err := api.removeWritten(context.Background()); err == nil {
		t.Error("a refused delete gave no error")
	}
}

func TestPollTimesOut(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	never := func(context.Context) (bool, string, error) { return false, "1 of 2 nodes clean", nil }
	err := poll(ctx, time.Millisecond, never)
	if err == nil || !strings.Contains(err.Error(), "1 of 2 nodes clean") {
		t.Errorf("poll() = %v; want an error that says what it waited for", err)
	}
}
