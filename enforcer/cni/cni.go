// Package cni is what the CNI plugin septum-cni and the enforcer say to each other over a
// unix socket: the plugin names a pod that is about to start, and the enforcer answers
// when the pod's policy is in force, or why it cannot be.
//
// Each way goes one line of JSON. The plugin closes the connection when it has waited
// long enough; there is no other end.
package cni

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
)

// Version is that of the protocol.
const Version = 1

// Binary is the plugin's name, as a file and as a type in the network's configuration.
const Binary = "septum-cni"

// DefaultSocket is where the enforcer listens.
const DefaultSocket = "/run/septum/cni/cni.sock"

// maxLine is the longest line that is read, in bytes.
const maxLine = 64 << 10

// Request is a pod that is about to start.
type Request struct {
	Version int `json:"version"`
	// Namespace, Name and UID are the pod's.
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`
	// NetNS is the path of its network namespace, on the node.
	NetNS string `json:"netns"`
	// Addresses are what the plugins before have given it.
	Addresses []netip.Addr `json:"addresses"`
}

// Key is "namespace/name".
func (r Request) Key() string { return r.Namespace + "/" + r.Name }

func (r Request) validate() error {
	switch {
	case r.Version != Version:
		return fmt.Errorf("the plugin speaks version %d of the protocol, not %d", r.Version, Version)
	case r.Namespace == "" || r.Name == "" || r.UID == "":
		return errors.New("the plugin does not say which pod starts")
	case len(r.Addresses) == 0:
		return fmt.Errorf("pod %s has no address", r.Key())
	}
	return nil
}

// Reply is the enforcer's answer.
type Reply struct {
	// OK says that the pod may start: its policy is in force, or (Policed false) no policy
	// selects it.
	OK      bool `json:"ok"`
	Policed bool `json:"policed,omitempty"`
	// Error says why it may not.
	Error string `json:"error,omitempty"`
}

// Ask sends the request and waits for the answer until ctx ends.
func Ask(ctx context.Context, socket string, r Request) (Reply, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", socket)
	if err != nil {
		return Reply{}, fmt.Errorf("connect to the enforcer: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	r.Version = Version
	if err := writeLine(conn, r); err != nil {
		return Reply{}, errors.Join(context.Cause(ctx), fmt.Errorf("ask the enforcer: %w", err))
	}
	var reply Reply
	if err := readLine(conn, &reply); err != nil {
		return Reply{}, errors.Join(context.Cause(ctx), fmt.Errorf("wait for the enforcer's answer: %w", err))
	}
	return reply, nil
}

func writeLine(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

func readLine(r io.Reader, v any) error {
	line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadBytes('\n')
	if err != nil {
		return err
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
