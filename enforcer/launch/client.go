package launch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"
)

// retryInterval is how long the launcher waits before it connects again.
const retryInterval = 200 * time.Millisecond

// replyTimeout bounds the wait for the enforcer's answer.
const replyTimeout = 30 * time.Second

// Client keeps the launcher's connection to the enforcer.
type Client struct {
	// Socket is the path of the enforcer's socket.
	Socket string
	// Instance names the launcher for as long as it runs.
	Instance string
	// Ready is called for each OK answer.
	Ready func(Reply)
	// Failed is called when an attempt failed or the connection ended.
	Failed func(error)
}

// Run connects, says hello, waits for the connection's end and begins again, until ctx ends.
func (c *Client) Run(ctx context.Context) {
	for ctx.Err() == nil {
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		c.Failed(err)
		select {
		case <-ctx.Done():
		case <-time.After(retryInterval):
		}
	}
}

func (c *Client) once(ctx context.Context) error {
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: c.Socket, Net: "unix"})
	if err != nil {
		return fmt.Errorf("connect to the enforcer: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	ns, err := os.Open("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("open own network namespace: %w", err)
	}
	err = send(conn, Hello{Version: Version, Instance: c.Instance}, ns)
	ns.Close()
	if err != nil {
		return fmt.Errorf("say hello to the enforcer: %w", err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(replyTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var r Reply
	if extra, err := receive(conn, &r); err != nil {
		return fmt.Errorf("hear from the enforcer: %w", err)
	} else if extra != nil {
		extra.Close()
	}
	if !r.OK {
		return fmt.Errorf("the enforcer refuses: %s", r.Error)
	}
	c.Ready(r)
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("the enforcer has gone: %w", err)
	}
	return errors.New("the enforcer said more than the hand-shake has")
}
