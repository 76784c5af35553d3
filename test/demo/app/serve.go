package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// serve answers HTTP/1.1 and, without TLS, HTTP/2 on one or more addresses, which commas
// divide, until ctx is done or one of them cannot be served.
func serve(ctx context.Context, listen string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	addrs := strings.Split(listen, ",")
	served := make(chan error, len(addrs))
	for _, addr := range addrs {
		go func() { served <- serveOne(ctx, addr) }()
	}
	var errs []error
	for range addrs {
		errs = append(errs, <-served)
		cancel()
	}
	return errors.Join(errs...)
}

func serveOne(ctx context.Context, listen string) error {
	name, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("read the host's name: %w", err)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Addr: listen, Handler: seen(name), Protocols: &protocols, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// seen answers with what the server sees of a request: the method, the path and the
// client's address, which is the client pod's own when nothing on the way hides it.
func seen(server string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		client, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			client = r.RemoteAddr
		}
		fmt.Fprintf(w, "%s here: %s %s from %s\n", server, r.Method, r.URL.Path, client)
	})
}
