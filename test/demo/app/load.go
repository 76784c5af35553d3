package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// plan says how load repeats a request.
type plan struct {
	length time.Duration
	every  time.Duration
	same   bool
	expect int
}

// tally counts answers and remembers the last one.
type tally struct {
	requests, unexpected int
	last                 string
}

// load repeats the request and prints a line whenever the outcome changes, then the
// counts. It fails when an answer was not as expected, or with plan.same when one
// connection was not enough.
func load(ctx context.Context, out io.Writer, r request, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, p.length)
	defer cancel()
	dials := 0
	dialer := net.Dialer{Timeout: r.timeout}
	transport := &http.Transport{
		DisableKeepAlives: !p.same,
		MaxConnsPerHost:   1,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials++; p.same && dials > 1 {
				return nil, errors.New("the connection was closed, and this is the second one")
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	var t tally
	started := time.Now()
	ticker := time.NewTicker(p.every)
	defer ticker.Stop()
	for {
		a, err := ask(ctx, client, r)
		if ctx.Err() != nil {
			break
		}
		outcome := fmt.Sprint(a.status)
		if err != nil {
			outcome = err.Error()
		}
		if t.count(outcome, p.expect == 0 || a.status == p.expect && err == nil) {
			fmt.Fprintf(out, "%.3fs %s\n", time.Since(started).Seconds(), outcome)
		}
		select {
		case <-ticker.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	fmt.Fprintf(out, "requests %d, unexpected %d\n", t.requests, t.unexpected)
	if t.requests == 0 || t.unexpected > 0 {
		return fmt.Errorf("%d of %d requests were not answered as expected", t.unexpected, t.requests)
	}
	return nil
}

// count adds one outcome and says whether it differs from the one before.
func (t *tally) count(outcome string, expected bool) bool {
	t.requests++
	if !expected {
		t.unexpected++
	}
	changed := outcome != t.last
	t.last = outcome
	return changed
}
