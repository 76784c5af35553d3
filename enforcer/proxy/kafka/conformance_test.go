package kafka

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
)

// listener is a server that keeps what comes and answers nothing.
func listener(t *testing.T) (addr string, got chan []byte) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	got = make(chan []byte, 1)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all, err := io.ReadAll(conn)
			if err != nil {
				all = append(all, []byte(err.Error())...)
			}
			conn.Close()
			got <- all
		}
	}()
	return l.Addr().String(), got
}

// say sends bytes through the proxy and returns those that its server got.
func say(t *testing.T, p *through, at string, got chan []byte, frame []byte) []byte {
	t.Helper()
	p.events("")
	conn, err := net.Dial("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second)) //nolint:errcheck // the reads say so
	if _, err := conn.Write(frame); err != nil {
		t.Fatal(err)
	}
	conn.(*net.TCPConn).CloseWrite() //nolint:errcheck // it may be reset
	io.Copy(io.Discard, conn)        //nolint:errcheck // as above
	select {
	case all := <-got:
		return all
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy's connection does not end")
	}
	return nil
}

// requestFrame is a request of one topic, if it has any, by its name.
func requestFrame(m *messages, r *policy.KafkaRequest) []byte {
	key := int16(r.Key)
	version := m.latest[key]
	if key == keyProduce || key == keyFetch {
		version = min(version, 12) // later ones have ids
	}
	if r.Version != 0 || key == keySASL {
		version = max(r.Version, 1)
	}
	return kafkatest.Request(*r, version)
}

// The truth table's requests, as the proxy carries them out.
func TestConformance(t *testing.T) {
	cases, err := conformance.Cases()
	if err != nil {
		t.Fatal(err)
	}
	server, got := listener(t)
	at := freePort(t)
	p, m := newThrough(t, at, server), newMessages()
	asked := 0
	for _, c := range cases {
		for _, r := range c.Requests {
			if r.Request.Kafka == nil {
				continue
			}
			np, plain := c.Node(r.Node), r.Request
			plain.Kafka = nil
			to := policy.Decide(np, plain)
			n := slices.IndexFunc(np.Classes, func(class policy.Class) bool { return class.ID == to.Class })
			if to.Verdict != policy.Redirected || n < 0 || np.Classes[n].Kind != policy.KindKafka {
				continue // no request reaches the proxy
			}
			asked++
			p.class.Store(&np.Classes[n])
			k := r.Request.Kafka
			arrived := say(t, p, at, got, requestFrame(m, k))
			passed := len(arrived) > 0
			if k.Topic != "" && passed {
				passed = bytes.Contains(arrived, []byte(k.Topic))
			}
			if passed != (r.Want != policy.Denied) {
				t.Errorf("%s: %s\n the server got %q", c.Name, r.Line, arrived)
			}
			p.mu.Lock()
			if r.HasRule && (len(p.seen) == 0 || p.seen[0].Rule.Path != r.Rule) {
				t.Errorf("%s: %s\n events %+v", c.Name, r.Line, p.seen)
			}
			p.mu.Unlock()
		}
	}
	if asked < 25 {
		t.Errorf("only %d requests", asked)
	}
}

// What cannot be read is not let through, whatever the rules allow (SEMANTICS 30).
func TestWhatCannotBeRead(t *testing.T) {
	server, got := listener(t)
	at := freePort(t)
	p := newThrough(t, at, server, policy.KafkaRule{})
	frame := func(key, version int16, body string) []byte {
		head := binary.BigEndian.AppendUint16(nil, uint16(key))
		head = binary.BigEndian.AppendUint16(head, uint16(version))
		head = append(head, 0, 0, 0, 7, 0, 1, 'c')
		return append(binary.BigEndian.AppendUint32(nil, uint32(len(head)+len(body))), append(head, body...)...)
	}
	for name, data := range map[string][]byte{
		"an unknown key":         frame(999, 0, ""),
		"a negative key":         frame(-1, 0, ""),
		"an unknown version":     frame(keyProduce, 99, "\x00"),
		"a body cut short":       frame(keyProduce, 7, "\xff\xff\x00\x01"),
		"a tail":                 frame(keyListOffsets, 1, "\xff\xff\xff\xff\x00\x00\x00\x00more"),
		"too many tags":          frame(keyProduce, 9, "\xff\xff\xff\x7f"),
		"version 0 of SASL":      frame(keySASL, 0, "\x00\x05PLAIN"),
		"text":                   []byte("GET / HTTP/1.1\r\n\r\n"),
		"a negative size":        []byte("\xff\xff\xff\xff0123456789"),
		"a size without content": []byte("\x00\x00\x00\x04abcd"),
	} {
		if arrived := say(t, p, at, got, data); len(arrived) > 0 {
			t.Errorf("%s: the server got %q", name, arrived)
		}
	}
}
