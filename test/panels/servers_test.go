package panels

import (
	"errors"
	"io"
	"net"
	"net/http"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/test/attack/node"
)

const (
	httpPort  = 80
	kafkaPort = 9092
	dnsPort   = 53
)

// serveShop answers /public with 200, /public/none with 404, /public/slow when it is released,
// and gRPC with the status NOT_FOUND.
func serveShop(t *testing.T, n *node.Node, shop *node.Pod, release <-chan struct{}) {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{Protocols: &protocols, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/public/none":
			w.WriteHeader(http.StatusNotFound)
		case "/public/slow":
			<-release
		case "/cart.Cart/Add":
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "5")
		}
	})}
	l := n.Listen(shop.NS, ":80")
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { srv.Close(); <-done })
}

// serveQueue takes what comes, and answers nothing.
func serveQueue(n *node.Node, queue *node.Pod) {
	l := n.Listen(queue.NS, ":9092")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.Copy(io.Discard, c) //nolint:errcheck // the client ends it
			}()
		}
	}()
}

// serveNames answers every question with one address.
func serveNames(t *testing.T, resolver *node.Pod) {
	t.Helper()
	var conn net.PacketConn
	resolver.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", ":53")
		return err
	})
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			size, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:size]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response = true
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET, TTL: 30},
				Body:   &dnsmessage.AResource{A: [4]byte{203, 0, 113, 7}},
			}}
			if out, err := m.Pack(); err == nil {
				conn.WriteTo(out, from) //nolint:errcheck // the client asks again
			}
		}
	}()
}
