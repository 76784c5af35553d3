package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// EnvoyAlive asks the Envoy of a bootstrap file, over its admin socket.
func EnvoyAlive(bootstrap string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			path, err := adminSocket(bootstrap)
			if err != nil {
				return nil, err
			}
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		},
	}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin/ready", nil)
		if err != nil {
			return fmt.Errorf("ask Envoy: %w", err)
		}
		res, err := client.Do(req)
		if err != nil {
			return fmt.Errorf("ask Envoy: %w", err)
		}
		return res.Body.Close() // that it is not ready yet is a sign of life
	}
}

func adminSocket(bootstrap string) (string, error) {
	data, err := os.ReadFile(bootstrap)
	if err != nil {
		return "", fmt.Errorf("read Envoy's bootstrap: %w", err)
	}
	var b struct {
		Admin struct {
			Address struct {
				Pipe struct {
					Path string `json:"path"`
				} `json:"pipe"`
			} `json:"address"`
		} `json:"admin"`
	}
	if err := json.Unmarshal(data, &b); err != nil {
		return "", fmt.Errorf("read Envoy's bootstrap: %w", err)
	}
	if b.Admin.Address.Pipe.Path == "" {
		return "", errors.New("the bootstrap names no admin socket")
	}
	return b.Admin.Address.Pipe.Path, nil
}

// LifelineFD is the descriptor of the lifeline in the process that has one.
const LifelineFD = 3

// Lifeline is a pair of sockets between the launcher and a process that it starts: what the
// launcher writes, the process writes back ([HoldLifeline]). Nobody else can get at it.
type Lifeline struct {
	mu   sync.Mutex
	conn net.Conn
	next byte
}

// Inherit makes a new pair and returns the process's end.
func (l *Lifeline) Inherit() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a lifeline: %w", err)
	}
	own, theirs := os.NewFile(uintptr(fds[0]), "lifeline"), os.NewFile(uintptr(fds[1]), "lifeline")
	defer own.Close() // the connection has a copy
	conn, err := net.FileConn(own)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make a lifeline: %w", err), theirs.Close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close() // who waits there waits for a process that has ended
	}
	l.conn = conn
	return theirs, nil
}

// Alive waits until the process has written back what it is sent now.
func (l *Lifeline) Alive(ctx context.Context) error {
	l.mu.Lock()
	conn := l.conn
	l.next++
	sent := l.next
	l.mu.Unlock()
	if conn == nil {
		return errors.New("pull the lifeline: there is none yet")
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) }) //nolint:errcheck // it may be closed
	defer stop()
	if _, err := conn.Write([]byte{sent}); err != nil {
		return fmt.Errorf("pull the lifeline: %w", err)
	}
	for got := make([]byte, 1); got[0] != sent; {
		if _, err := io.ReadFull(conn, got); err != nil {
			return fmt.Errorf("pull the lifeline: %w", err)
		}
	}
	return nil
}

// HoldLifeline has this process write back what comes over the lifeline, until it ends.
func HoldLifeline() error {
	file := os.NewFile(LifelineFD, "lifeline")
	defer file.Close() // the connection has a copy
	conn, err := net.FileConn(file)
	if err != nil {
		return fmt.Errorf("hold the lifeline (descriptor %d): %w", LifelineFD, err)
	}
	go func() {
		defer conn.Close()
		io.Copy(conn, conn) //nolint:errcheck // its end is the launcher's
	}()
	return nil
}
