package xds

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"testing"
	"time"
)

// refusedConn says whether the server closes the connection within that time.
func refusedConn(t *testing.T, conn net.Conn, wait time.Duration) bool {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		t.Fatal(err)
	}
	_, err := conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestGate holds that one address cannot fill the operator with connections that say nothing, and that those
// with a certificate do not count.
func TestGate(t *testing.T) {
	const moment = 100 * time.Millisecond
	o := newOperator(t)
	open := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", o.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	node := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: o.ca.pool(), ServerName: "operator.test", Certificates: []tls.Certificate{*pairOf(t, o.ca, "node1")}, NextProtos: []string{"h2"}}
	for range 2 * unprovenPerAddress { // more than there may be without a certificate
		conn := tls.Client(open(), node)
		if err := conn.Handshake(); err != nil {
			t.Fatalf("a node's connection: %v", err)
		}
		// The server has taken the certificate when it speaks first, with its settings.
		if _, err := conn.Read(make([]byte, 1)); err != nil {
			t.Fatalf("a node's connection: %v", err)
		}
	}
	var silent []net.Conn
	for range unprovenPerAddress {
		silent = append(silent, open())
	}
	if refusedConn(t, silent[0], moment) || refusedConn(t, silent[len(silent)-1], moment) {
		t.Error("a connection within the limit was closed")
	}
	if !refusedConn(t, open(), handshakeTimeout/2) { // later it is closed for another reason
		t.Error("one more than the limit is let in")
	}
	silent[0].Close()
	deadline := time.Now().Add(testTimeout)
	for refusedConn(t, open(), moment) {
		if time.Now().After(deadline) {
			t.Fatal("a connection that is closed counts for ever")
		}
	}
}
