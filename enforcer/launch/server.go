package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/enforcer/sockets"
)

// helloTimeout bounds how long a connection may say nothing.
const helloTimeout = 5 * time.Second

// Proxy is a launcher that has said hello.
type Proxy struct {
	Instance string
	// NetNS is the launcher's network namespace; it is closed when the launcher goes.
	NetNS *os.File
	// Gone is closed when the connection ends.
	Gone <-chan struct{}

	conn *net.UnixConn
}

// Reply answers the launcher's hello.
func (p *Proxy) Reply(r Reply) error {
	if err := send(p.conn, r, nil); err != nil {
		return fmt.Errorf("answer the proxy's launcher: %w", err)
	}
	return nil
}

// Close ends the connection: the launcher connects again.
func (p *Proxy) Close() error { return p.conn.Close() }

// Listen makes the socket at path, in the place of one that an earlier process left,
// for the group gid that the launcher runs in. The caller is in that group, or may
// give files away.
func Listen(path string, gid int) (*net.UnixListener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("remove old socket: %w", err)
	}
	lis, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen for the proxy's launcher: %w", err)
	}
	// The file stays when the process ends: a launcher that tries in between is refused, not lost.
	lis.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660)); err != nil {
		return nil, errors.Join(fmt.Errorf("give the socket to the proxy: %w", err), lis.Close())
	}
	return lis, nil
}

// Serve accepts launchers of the user uid (or root) until ctx ends, and calls hello
// for each. Errors of single connections go to failed.
func Serve(ctx context.Context, lis *net.UnixListener, uid int, hello func(*Proxy), failed func(error)) error {
	return sockets.Serve(ctx, lis, "the proxy's launcher", func(conn *net.UnixConn) error { return serve(conn, uid, hello) }, failed)
}

func serve(conn *net.UnixConn, uid int, hello func(*Proxy)) error {
	if err := checkPeer(conn, uid); err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	var h Hello
	ns, err := receive(conn, &h)
	if err != nil {
		return err
	}
	if ns == nil {
		return errors.New("the launcher sent no network namespace")
	}
	defer ns.Close()
	if h.Version != Version || h.Instance == "" {
		return fmt.Errorf("the launcher speaks version %d of the hand-shake, not %d", h.Version, Version)
	}
	if _, err := netns.Identify(ns); err != nil {
		return fmt.Errorf("the launcher's network namespace: %w", err)
	}
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	gone := make(chan struct{})
	defer close(gone)
	hello(&Proxy{Instance: h.Instance, NetNS: ns, Gone: gone, conn: conn})
	// The launcher says nothing more: the first thing that is read is the end.
	if _, err := conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, unix.ECONNRESET) {
		return fmt.Errorf("wait for the launcher's end: %w", err)
	}
	return nil
}

func checkPeer(conn *net.UnixConn, uid int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return fmt.Errorf("read peer credentials: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return fmt.Errorf("read peer credentials: %w", err)
	}
	if credErr != nil {
		return fmt.Errorf("read peer credentials: %w", credErr)
	}
	if int(cred.Uid) != uid && cred.Uid != 0 {
		return fmt.Errorf("the launcher runs as user %d, not %d", cred.Uid, uid)
	}
	return nil
}
