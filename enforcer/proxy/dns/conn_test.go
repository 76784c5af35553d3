package dns

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// dialogue is a client's connection through the handler to a server.
func dialogue(t *testing.T, serve func(net.Conn)) (*bench, net.Conn) {
	b := newBench(t, Config{}, nil)
	client, ours := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.h.Serve(t.Context(), &proxy.Conn{Client: ours, Src: netip.MustParseAddrPort("10.0.0.1:4000"), Dst: netip.MustParseAddrPort("10.0.0.53:53"),
			Class: func() *policy.Class { return b.class },
			Dial: func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go serve(far)
				return near, nil
			}})
		ours.Close()
	}()
	t.Cleanup(func() { client.Close(); <-done })
	client.SetDeadline(time.Now().Add(5 * time.Second))
	return b, client
}

func TestConnection(t *testing.T) {
	var asked [][]byte
	_, client := dialogue(t, func(c net.Conn) {
		// Two questions are read before the first is answered, the last one first.
		var open [][]byte
		for {
			q, err := readMessage(c)
			if err != nil {
				return
			}
			asked = append(asked, q)
			if open = append(open, q); len(open) == 2 {
				slices.Reverse(open)
				for _, q := range open {
					writeMessage(c, reply(t, q, rr{"www.example.com.", "192.0.2.1", 60}))
				}
			}
		}
	})
	first, denied, second := query(t, 1, "www.example.com.", dnsmessage.TypeA, false), query(t, 2, "no.example.", dnsmessage.TypeA, false), query(t, 3, "www.example.com.", dnsmessage.TypeAAAA, true)
	go func() {
		for _, q := range [][]byte{first, denied, second} {
			writeMessage(client, q)
		}
	}()
	codes := map[uint16]dnsmessage.RCode{}
	for range 3 {
		b, err := readMessage(client)
		check(t, err)
		codes[binary.BigEndian.Uint16(b)] = code(t, b)
	}
	if codes[1] != 0 || codes[2] != dnsmessage.RCodeRefused || codes[3] != 0 || len(codes) != 3 {
		t.Errorf("answers %v", codes)
	}
	if len(asked) != 2 || !bytes.Equal(asked[0], first) || !bytes.Equal(asked[1], second) {
		t.Errorf("asked %x", asked)
	}
}

func TestHostileConnection(t *testing.T) {
	for name, data := range map[string][]byte{
		"no DNS":     []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n" + strings.Repeat("x", 1<<15)),
		"empty":      {0, 0},
		"asks twice": slices.Repeat(append([]byte{0, 33}, query(t, 1, "www.example.com.", dnsmessage.TypeA, false)...), 2),
	} {
		_, client := dialogue(t, func(c net.Conn) {
			for {
				if _, err := readMessage(c); err != nil {
					return
				}
			}
		})
		go client.Write(data)
		if b, err := readMessage(client); err == nil {
			t.Errorf("%s: got %x", name, b)
		}
	}
	// A server that answers what was not asked is not passed on.
	_, client := dialogue(t, func(c net.Conn) {
		q, _ := readMessage(c)
		writeMessage(c, reply(t, query(t, 9, "www.example.com.", dnsmessage.TypeA, false)))
		writeMessage(c, reply(t, q))
	})
	check(t, writeMessage(client, query(t, 1, "www.example.com.", dnsmessage.TypeA, false)))
	if b, err := readMessage(client); err == nil {
		t.Errorf("an answer to nothing: %x", b)
	}
}
