package envoy

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/septum-dev/septum/policy"
)

// A request that goes on is told of while it does, and once more when it ends; how a gRPC
// request ended is told from its trailers, or from the header of an answer without a body.
func TestRequestsThatGoOn(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	e := startEnvoy(t, echo(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/svc/Wait":
			<-release
			w.Header().Set("Content-Type", "application/grpc")
			w.WriteHeader(http.StatusOK)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "5")
		case "/svc/Short":
			w.Header().Set("Grpc-Status", "14")
		}
	}))
	addr := e.apply(t, classOf("c", policy.HTTPRule{Path: prefix("/svc/")}))["c"]
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: &protocols}}
	ask := func(path, contentType string) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, strings.NewReader("x"))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Content-Type", contentType)
		res, err := client.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		res.Body.Close()
	}
	next := func() policy.Event {
		for {
			select {
			case ev := <-e.events:
				if ev.HTTP != nil && ev.HTTP.Path != "" {
					return ev
				}
			case <-time.After(time.Minute):
				t.Fatal("no event in a minute")
			}
		}
	}
	for _, tt := range []struct {
		path, contentType string
		verdict           policy.Verdict
		status            int // -2 for what is no gRPC
	}{
		{"/svc/Short", "application/grpc+proto; x=y", policy.Forwarded, 14},
		{"/other", "application/grpc", policy.Denied, 7},
		{"/svc/Plain", "application/grpc", policy.Forwarded, -1},
		{"/svc/Plain", "application/grpcweb", policy.Forwarded, -2},
	} {
		ask(tt.path, tt.contentType)
		ev := next()
		status := -2
		if ev.HTTP.GRPC != nil {
			status = ev.HTTP.GRPC.Status
		}
		if ev.HTTP.Stage != policy.HTTPWhole || ev.Verdict != tt.verdict || status != tt.status {
			t.Errorf("%+v: got stage %d, verdict %d, status %d", tt, ev.HTTP.Stage, ev.Verdict, status)
		}
	}
	done := make(chan struct{})
	go func() { defer close(done); ask("/svc/Wait", "application/grpc") }()
	if ev := next(); ev.HTTP.Stage != policy.HTTPBegun || ev.Verdict != policy.Forwarded || ev.HTTP.Code != 0 {
		t.Errorf("a request without an answer: got %+v %+v", ev, ev.HTTP)
	}
	close(release)
	<-done
	if ev := next(); ev.HTTP.Stage != policy.HTTPEnded || ev.HTTP.Code != 200 || ev.HTTP.GRPC == nil || ev.HTTP.GRPC.Status != 5 {
		t.Errorf("its end: got %+v %+v %+v", ev, ev.HTTP, ev.HTTP.GRPC)
	}
}
