package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// request is what a client asks.
type request struct {
	method  string
	url     string
	header  http.Header
	timeout time.Duration
}

// answer is what a client got.
type answer struct {
	status int
	body   string
}

func (a answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

func requestFlags(flags *flag.FlagSet) *request {
	r := request{header: http.Header{}}
	flags.Func("H", "a header, as \"name: value\"; again for another", func(text string) error {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return errors.New("no colon")
		}
		r.header.Add(name, strings.TrimSpace(value))
		return nil
	})
	flags.StringVar(&r.method, "X", http.MethodGet, "method")
	flags.DurationVar(&r.timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return &r
}

// get makes one request on a connection of its own.
func get(ctx context.Context, r request) (answer, error) {
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	return ask(ctx, &http.Client{Transport: transport}, r)
}

// ask returns the answer, or an error that begins with "no answer".
func ask(ctx context.Context, client *http.Client, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var body io.Reader
	if r.method != http.MethodGet && r.method != http.MethodHead {
		body = strings.NewReader("hello\n")
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, body)
	if err != nil {
		return answer{}, fmt.Errorf("bad request: %w", err)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	if host := r.header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, fmt.Errorf("no answer: %s", reason(err, r.timeout))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return answer{}, fmt.Errorf("no answer: %s", reason(err, r.timeout))
	}
	return answer{status: resp.StatusCode, body: strings.TrimSpace(string(text))}, nil
}

// reason says in few words why there was no answer.
func reason(err error, timeout time.Duration) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		return fmt.Sprintf("timed out after %s", timeout)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused"
	case errors.Is(err, syscall.ECONNRESET):
		return "connection reset"
	case errors.Is(err, io.EOF):
		return "connection closed"
	}
	return err.Error()
}
