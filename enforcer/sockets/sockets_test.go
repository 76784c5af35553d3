package sockets

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(t.Context())
	failures, ended := make(chan error, 2), make(chan error, 1)
	go func() {
		ended <- Serve(ctx, lis, "the guest", func(conn *net.UnixConn) error {
			b := make([]byte, 1)
			if _, err := io.ReadFull(conn, b); err != nil {
				return err
			}
			return errors.New("said " + string(b))
		}, func(err error) { failures <- err })
	}()
	dial := func() net.Conn {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	silent, loud := dial(), dial()
	if _, err := loud.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-failures:
		if !strings.Contains(err.Error(), "serve the guest: said x") {
			t.Errorf("failed with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("one silent connection keeps another from being served")
	}
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("a silent connection keeps it from ending")
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection is still open")
	}
	if len(failures) != 0 {
		t.Errorf("the end is told as a failure: %v", <-failures)
	}
}
