package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
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
	// connect is where to go instead of to the URL's host, and ca the file of authorities that a
	// server's certificate must be of; without one, any will do.
	connect, ca string
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
	flags.StringVar(&r.connect, "connect", "", "address and port to connect to, whatever the URL says")
	flags.StringVar(&r.ca, "ca", "", "file of the authorities that a server's certificate must be of (none: any certificate will do)")
	flags.DurationVar(&r.timeout, "timeout", 3*time.Second, "how long to wait for the answer")
	return &r
}

// get makes one request on a connection of its own.
func get(ctx context.Context, r request) (answer, error) {
	config, err := r.tls()
	if err != nil {
		return answer{}, err
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	if r.connect != "" {
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, r.connect)
		}
	}
	defer transport.CloseIdleConnections()
	return ask(ctx, &http.Client{Transport: transport}, r)
}

func (r request) tls() (*tls.Config, error) {
	if r.ca == "" {
		return &tls.Config{InsecureSkipVerify: true}, nil //nolint:gosec // what is tried is whether there is a connection
	}
	text, err := os.ReadFile(r.ca)
	if err != nil {
		return nil, fmt.Errorf("read authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", r.ca)
	}
	return &tls.Config{RootCAs: pool}, nil
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
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsTimeout {
		return "the name is not known: " + dns.Err
	}
	return err.Error()
}
