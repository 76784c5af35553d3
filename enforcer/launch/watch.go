package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// A process that is stopped or hangs still has its sockets: connections to it are accepted by
// the kernel, and nobody answers. So it is asked for a sign of life, and killed when it gives none.
const (
	// watchInterval is how often it is asked, answerTimeout how long it may take.
	watchInterval = time.Second
	answerTimeout = 2 * time.Second
	// hangsAfter is how long it may give no sign. Taking two thousand classes at once keeps
	// Envoy from answering for some seconds.
	hangsAfter = 15 * time.Second
	// startLimit is the same for one that has not given its first sign yet.
	startLimit = time.Minute
)

// Watch kills a process that hangs. Started and Ended are to be called for each start and end.
type Watch struct {
	// Alive asks for a sign of life.
	Alive func(context.Context) error
	// Hangs is called before a process is killed.
	Hangs func(pid int, err error)

	mu    sync.Mutex
	pid   int
	since time.Time
	heard bool
}

// Started notes the process that is to be watched.
func (w *Watch) Started(pid int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid, w.since, w.heard = pid, time.Now(), false
}

// Ended notes that there is none.
func (w *Watch) Ended() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pid = 0
}

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, answerTimeout)
		err := w.Alive(ask)
		cancel()
		w.judge(time.Now(), err)
	}
}

func (w *Watch) judge(now time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	limit := startLimit
	if w.heard {
		limit = hangsAfter
	}
	switch {
	case w.pid == 0:
	case err == nil:
		w.since, w.heard = now, true
	case now.Sub(w.since) >= limit:
		w.Hangs(w.pid, err)
		syscall.Kill(w.pid, syscall.SIGKILL) //nolint:errcheck // it may have ended
		w.since = now
	}
}

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
