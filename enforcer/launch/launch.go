// Package launch is how the proxy pod's launcher and the node's enforcer meet, and how
// the launcher runs Envoy.
//
// The launcher connects to the enforcer's unix socket and sends one JSON line ([Hello])
// with its network namespace as a file descriptor beside it. The enforcer makes the
// namespace ready and answers one JSON line ([Reply]). The connection then stays open:
// its end is how each learns that the other has gone. The launcher connects again and
// sends the same, and leaves Envoy as it is.
package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Version is the version of the hand-shake.
const Version = 1

// ProxySocket is the name of the socket for Septum's own proxy, beside that of the hand-shake.
const ProxySocket = "proxy.sock"

// maxLine bounds a line of the hand-shake.
const maxLine = 4096

// Hello is what the launcher says. Instance is its own for as long as it runs.
type Hello struct {
	Version  int    `json:"version"`
	Instance string `json:"instance"`
}

// Reply is what the enforcer answers: the path of Envoy's bootstrap, or what went wrong.
type Reply struct {
	OK        bool   `json:"ok"`
	Bootstrap string `json:"bootstrap,omitempty"`
	Error     string `json:"error,omitempty"`
}

// send writes v as a line, with a file descriptor beside it if ns is not nil.
func send(conn *net.UnixConn, v any, ns *os.File) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	var oob []byte
	if ns != nil {
		oob = unix.UnixRights(int(ns.Fd()))
	}
	if _, _, err := conn.WriteMsgUnix(append(line, '\n'), oob, nil); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// receive reads a line into v and returns the file that came with it, if any. The
// sender writes a line in one piece; what comes in more than one is refused.
func receive(conn *net.UnixConn, v any) (*os.File, error) {
	line, oob := make([]byte, maxLine), make([]byte, unix.CmsgSpace(4*4))
	n, oobn, flags, _, err := conn.ReadMsgUnix(line, oob)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	if n == 0 {
		return nil, errors.New("receive: the other side closed the connection")
	}
	files, err := filesOf(oob[:oobn])
	if err != nil {
		return nil, err
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 || len(files) > 1 || line[n-1] != '\n' {
		return nil, errors.Join(errors.New("receive: the message is not one line with at most one file"), closeAll(files))
	}
	if err := json.Unmarshal(line[:n], v); err != nil {
		return nil, errors.Join(fmt.Errorf("decode: %w", err), closeAll(files))
	}
	if len(files) == 0 {
		return nil, nil
	}
	return files[0], nil
}

func filesOf(oob []byte) ([]*os.File, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, fmt.Errorf("receive: %w", err)
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "the launcher's network namespace"))
		}
	}
	return files, nil
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
