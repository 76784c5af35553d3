// Package sockets accepts the connections of the node's unix sockets: those of the proxy's
// launcher and of the CNI plugin. In: a listener. Out: each connection, served by itself.
package sockets

import (
	"context"
	"fmt"
	"net"
	"sync"
)

// Serve accepts connections until ctx ends, and serves each in a goroutine of its own; it
// returns when all have ended, and closes what is open when ctx ends. Errors of single
// connections go to failed. whose names the other side in errors ("the CNI plugin").
func Serve(ctx context.Context, lis *net.UnixListener, whose string, serve func(*net.UnixConn) error, failed func(error)) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	stop := context.AfterFunc(ctx, func() { lis.Close() })
	defer stop()
	for {
		conn, err := lis.AcceptUnix()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept %s: %w", whose, err)
		}
		wg.Go(func() {
			defer conn.Close()
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			defer stop()
			if err := serve(conn); err != nil && ctx.Err() == nil {
				failed(fmt.Errorf("serve %s: %w", whose, err))
			}
		})
	}
}
