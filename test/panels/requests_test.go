package panels

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/test/attack/node"
)

const (
	shopAddr, queueAddr, resolverAddr = "10.244.1.3:80", "10.244.1.4:9092", "10.244.1.5:53"
	// patience is for an answer that is due.
	patience = 30 * time.Second
)

// client sends requests from a pod.
type client struct {
	*node.Pod
	t *testing.T
}

func (c client) dial(network, addr string) net.Conn {
	c.t.Helper()
	conn, err := node.Dial(context.Background(), c.NS, net.Dialer{Timeout: patience}, network, addr)
	if err != nil {
		c.t.Fatalf("from %s to %s: %v", c.Name, addr, err)
	}
	c.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	return conn
}

// http sends a request on a connection of its own and returns the status.
func (c client) http(method, path, contentType string) int {
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		return node.Dial(ctx, c.NS, net.Dialer{Timeout: patience}, network, addr)
	}}
	if contentType != "" {
		transport.Protocols = &http.Protocols{}
		transport.Protocols.SetUnencryptedHTTP2(true)
	}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequest(method, "http://"+shopAddr+path, bytes.NewReader(nil))
	if err != nil {
		c.t.Error(err)
		return 0
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := (&http.Client{Transport: transport, Timeout: 2 * time.Minute}).Do(req)
	if err != nil {
		c.t.Errorf("%s %s from %s: %v", method, path, c.Name, err)
		return 0
	}
	defer res.Body.Close()
	return res.StatusCode
}

// refused opens a connection that is dropped.
func (c client) refused(addr string) {
	c.t.Helper()
	conn, err := node.Dial(context.Background(), c.NS, net.Dialer{Timeout: 300 * time.Millisecond}, "tcp4", addr)
	if err == nil {
		conn.Close()
		c.t.Errorf("%s reaches %s", c.Name, addr)
	}
}

// ask asks the resolver for an address and waits for the answer.
func (c client) ask(name string, code dnsmessage.RCode) {
	c.t.Helper()
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}
	out, err := question.Pack()
	if err != nil {
		c.t.Fatal(err)
	}
	conn := c.dial("udp4", resolverAddr)
	if _, err := conn.Write(out); err != nil {
		c.t.Fatal(err)
	}
	buf := make([]byte, 1500)
	size, err := conn.Read(buf)
	if err != nil {
		c.t.Fatalf("no answer about %s: %v", name, err)
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(buf[:size]); err != nil || answer.RCode != code {
		c.t.Errorf("%s is answered with %v, %v; want %v", name, answer.RCode, err, code)
	}
}

// produce sends Kafka requests to topics, on one connection.
func (c client) produce(topics ...string) {
	c.t.Helper()
	conn := c.dial("tcp4", queueAddr)
	for i, topic := range topics {
		req := kmsg.NewProduceRequest()
		req.Version, req.Acks, req.TimeoutMillis = 7, -1, 1000
		req.Topics = []kmsg.ProduceRequestTopic{{Topic: topic, Partitions: []kmsg.ProduceRequestTopicPartition{{}}}}
		if _, err := conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, &req, int32(i))); err != nil {
			c.t.Fatal(err)
		}
	}
}
