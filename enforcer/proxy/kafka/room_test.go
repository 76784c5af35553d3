package kafka

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// A client that sends all that it may, and more, keeps no other out.
func TestRoomOfOneClient(t *testing.T) {
	r := newRoom()
	greedy, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	ctx, cancel := context.WithCancel(t.Context())
	var releases []func()
	for range clientRoom >> 20 {
		release, err := r.acquire(ctx, greedy, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		releases = append(releases, release)
	}
	waited := make(chan error)
	const more = 100
	for i := range more {
		go func() {
			_, err := r.acquire(ctx, greedy, []int64{1 << 20, maxFrame}[i%2])
			waited <- err
		}()
	}
	soon, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	for range 100 {
		for _, size := range []int64{1 << 20, clientRoom, maxFrame} {
			release, err := r.acquire(soon, other, size)
			if err != nil {
				t.Fatalf("%d bytes of another client: %v", size, err)
			}
			release()
		}
	}
	cancel()
	for range more {
		if err := <-waited; err == nil {
			t.Error("a client has more room than its part")
		}
	}
	for _, release := range releases {
		release()
	}
	if len(r.clients) != 0 {
		t.Errorf("clients are remembered that have no request: %v", r.clients)
	}
}
