package cni

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/septum-dev/septum/enforcer/sockets"
)

// helloTimeout bounds how long a connection may say nothing.
const helloTimeout = 5 * time.Second

// Pod is a pod that waits for its policy.
type Pod struct {
	Request
	// Gone is closed when nobody waits any more.
	Gone <-chan struct{}

	answer chan Reply
}

// NewPod returns a pod that waits until gone is closed, and what it is answered.
func NewPod(r Request, gone <-chan struct{}) (*Pod, <-chan Reply) {
	answer := make(chan Reply, 1)
	return &Pod{Request: r, Gone: gone, answer: answer}, answer
}

// Reply answers; only the first answer counts.
func (p *Pod) Reply(r Reply) {
	select {
	case p.answer <- r:
	default:
	}
}

// Listen makes the socket, for root only, in the place of one that an earlier process left.
func Listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make directory for the CNI plugin's socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the CNI plugin: %w", err)
	}
	// The file stays when the process ends: a plugin that tries in between is refused at once.
	lis.SetUnlinkOnClose(false)
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("keep the CNI plugin's socket to root: %w", err), lis.Close())
	}
	return lis, nil
}

// Serve accepts plugins until ctx ends and calls came for each pod. Errors of single
// connections go to failed.
func Serve(ctx context.Context, lis *net.UnixListener, came func(*Pod), failed func(error)) error {
	return sockets.Serve(ctx, lis, "the CNI plugin", func(conn *net.UnixConn) error { return serve(ctx, conn, came) }, failed)
}

func serve(ctx context.Context, conn net.Conn, came func(*Pod)) error {
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var r Request
	if err := readLine(conn, &r); err != nil {
		return fmt.Errorf("read the pod: %w", err)
	}
	if err := r.validate(); err != nil {
		return errors.Join(err, writeLine(conn, Reply{Error: err.Error()}))
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		// The plugin says nothing more: what is read is the end.
		_, _ = io.Copy(io.Discard, conn)
	}()
	pod, answer := NewPod(r, gone)
	came(pod)
	select {
	case reply := <-answer:
		if err := writeLine(conn, reply); err != nil {
			return fmt.Errorf("answer for pod %s: %w", r.Key(), err)
		}
		return nil
	case <-gone:
		return nil
	case <-ctx.Done():
		return nil
	}
}
