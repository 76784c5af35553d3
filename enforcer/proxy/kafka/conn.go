package kafka

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// conn is one connection of a client and the one to its server.
type conn struct {
	*proxy.Conn
	h       *Handler
	server  net.Conn
	answers *answers
	// names are the topics whose ids the server has told; they belong to requests.
	names map[[16]byte]string
	asked int32
}

// request is one request as it came.
type request struct {
	key, version int16
	correlation  int32
	client       string
	// frame is all but the size; body begins at the offset bodyAt in it.
	frame  []byte
	bodyAt int
}

func (r *request) event() policy.KafkaEvent {
	return policy.KafkaEvent{Key: policy.KafkaKey(r.key), Version: r.version, Correlation: r.correlation, ClientID: cut(r.client)}
}

func (r *request) refuse(format string, args ...any) error {
	return &refusal{reason: fmt.Sprintf(format, args...), event: r.event()}
}

// maxWords is how much of a client's words goes into events.
const maxWords = 256

func cut(s string) string {
	if len(s) > maxWords {
		return s[:maxWords]
	}
	return s
}

// readerSize is the buffer of each direction; larger messages go past it.
const readerSize = 4 << 10

// requests reads, judges and sends on what the client asks.
func (c *conn) requests(ctx context.Context) error {
	in := bufio.NewReaderSize(c.Client, readerSize)
	var buffer []byte
	for {
		size, err := c.size(in)
		done := false
		if err == nil && size > streamed {
			done, err = c.stream(in, size)
		}
		switch {
		case err != nil || done:
		case size > largeFrame:
			buffer = nil
			err = c.large(ctx, in, size)
		default:
			if buffer, err = read(in, buffer[:0], size); err == nil {
				err = c.request(buffer)
			}
		}
		if err != nil {
			return err
		}
	}
}

// large is the same for a request that is so large that its memory is shared.
func (c *conn) large(ctx context.Context, in *bufio.Reader, size int) error {
	release, err := c.h.room.acquire(ctx, c.Src.Addr(), int64(size))
	if err != nil {
		return err
	}
	defer release()
	var buffer []byte
	if size <= pooled {
		buffer = c.h.room.buffer()
		defer c.h.room.keep(buffer)
	}
	c.Client.SetReadDeadline(c.h.now().Add(largeTime)) //nolint:errcheck // the read says so
	frame, err := read(in, buffer, size)
	c.Client.SetReadDeadline(time.Time{}) //nolint:errcheck // as above
	if err != nil {
		return err
	}
	return c.request(frame)
}

// size reads how long the next request is. TLS, and what else is not Kafka, has no such size.
func (c *conn) size(in *bufio.Reader) (int, error) {
	head, err := in.Peek(4)
	if err != nil {
		if len(head) > 0 && errors.Is(err, io.EOF) {
			return 0, io.ErrUnexpectedEOF
		}
		return 0, err
	}
	size := int32(binary.BigEndian.Uint32(head))
	if head[0] == 0x16 && head[1] == 3 {
		return 0, &refusal{reason: "TLS: the rules are about Kafka in plain text"}
	}
	if size < 10 || size > maxFrame {
		return 0, &refusal{reason: "not Kafka"}
	}
	_, err = in.Discard(4)
	return int(size), err
}

// read reads n bytes. Memory grows with what comes, not with what is announced.
func read(in io.Reader, buffer []byte, n int) ([]byte, error) {
	const step = 64 << 10
	for len(buffer) < n {
		at := len(buffer)
		more := min(n-at, max(step, at, cap(buffer)-at))
		if cap(buffer)-at < more {
			buffer = append(make([]byte, 0, at+more), buffer...)
		}
		buffer = buffer[:at+more]
		if _, err := io.ReadFull(in, buffer[at:]); err != nil {
			return nil, err
		}
	}
	return buffer, nil
}

// request judges one request and sends it on, or answers it.
func (c *conn) request(frame []byte) error {
	r, err := c.header(frame)
	if err != nil {
		return err
	}
	if r.key == keyVersions {
		return c.versions(r)
	}
	if r.key == keySASL && r.version == 0 {
		// What follows it is no Kafka, and nothing says where that ends.
		return r.refuse("version 0 of SaslHandshake is not supported")
	}
	exchange, ok := c.h.messages.exchanges[r.key]
	if !ok {
		return c.plain(r)
	}
	if size := len(frame); size > maxSmall && r.key != keyProduce {
		return r.refuse("a request of %d bytes", size)
	}
	m, err := exchange.request.walk(r.version, frame[r.bodyAt:])
	if errors.Is(err, errTail) && r.key == keyMetadata {
		// librdkafka (2.16) leaves three bytes too many where it asks for all topics. Servers
		// read nothing of them; they are not sent on.
		r.frame, err = frame[:r.bodyAt+m.end], nil
	}
	if err != nil {
		return r.refuse("not Kafka: %v", err)
	}
	return c.judge(r, exchange, m)
}

// header reads a request's header; that of ApiVersions, whose version may be unknown, to the
// client's id.
func (c *conn) header(frame []byte) (*request, error) {
	r := &request{frame: frame, key: int16(binary.BigEndian.Uint16(frame)), version: int16(binary.BigEndian.Uint16(frame[2:])),
		correlation: int32(binary.BigEndian.Uint32(frame[4:]))}
	w := walker{body: frame, at: 8}
	client, err := w.text(false)
	if err != nil {
		return nil, r.refuse("not Kafka")
	}
	r.client = string(client)
	if r.key == keyVersions {
		return r, nil
	}
	latest, known := c.h.messages.latest[r.key]
	if !known || r.version < 0 || r.version > latest {
		return nil, r.refuse("version %d of the API key %d is not known", r.version, r.key)
	}
	if r.version >= c.h.messages.flexible[r.key] {
		if err := w.tags(); err != nil {
			return nil, r.refuse("not Kafka")
		}
	}
	r.bodyAt = w.at
	return r, nil
}

// plain judges a request without topics.
func (c *conn) plain(r *request) error {
	d := c.decide(r, "")
	if d.Verdict != policy.Denied {
		if !(policy.KafkaKey(r.key) == policy.KafkaSASLHandshake || policy.KafkaKey(r.key) == policy.KafkaSASLAuthenticate) {
			c.report(d, r.event())
		}
		return c.forward(r, nil, nil)
	}
	return c.denyWhole(r, d)
}

func (c *conn) decide(r *request, topic string) policy.Decision {
	return c.Class().DecideKafka(policy.KafkaRequest{Key: policy.KafkaKey(r.key), Version: r.version, ClientID: r.client, Topic: topic})
}

// denyWhole answers a request of which nothing is allowed, and that has no topics to say so.
func (c *conn) denyWhole(r *request, d policy.Decision) error {
	event := r.event()
	answer, code, err := c.h.messages.listedAnswer(r)
	if err != nil {
		return err
	}
	if answer == nil {
		answer, code = wholeAnswer(r.key)
	}
	event.Error = code
	if answer == nil {
		return &refusal{reason: d.Reason, event: event}
	}
	c.report(d, event)
	return c.answer(r, bodyOf(answer, r.version))
}

// answer gives the proxy's own answer, in its turn.
func (c *conn) answer(r *request, body []byte) error {
	return c.answers.push(waiting{correlation: r.correlation, local: frame(r.correlation, c.tagged(r), body)})
}

func (c *conn) tagged(r *request) bool { return r.version >= c.h.messages.flexible[r.key] }

// forward sends the request on; with another body, if there is one.
func (c *conn) forward(r *request, body []byte, edit func([]byte) ([]byte, error)) error {
	return c.send(r, body, waiting{correlation: r.correlation, edit: edit}, true)
}

func (c *conn) send(r *request, body []byte, w waiting, answered bool) error {
	if answered {
		if err := c.answers.push(w); err != nil {
			return err
		}
	}
	if body == nil {
		body = r.frame[r.bodyAt:]
	}
	size := binary.BigEndian.AppendUint32(nil, uint32(r.bodyAt+len(body)))
	out := net.Buffers{size, r.frame[:r.bodyAt], body}
	_, err := out.WriteTo(c.server)
	return err
}

// responses reads the server's answers and gives them to whom they belong.
func (c *conn) responses() error {
	in := bufio.NewReaderSize(c.server, readerSize)
	for {
		head, err := in.Peek(8)
		if err != nil {
			return err
		}
		size, correlation := int(binary.BigEndian.Uint32(head)), int32(binary.BigEndian.Uint32(head[4:]))
		w, ok := c.answers.head()
		if !ok || size < 4 || size > 1<<31-1 || w.correlation != correlation {
			return &refusal{reason: "the server's answer belongs to no request"}
		}
		if w.own == nil && w.edit == nil {
			if err := pass(c.Client, c.server, in, size+4); err != nil {
				return err
			}
		} else if err := c.look(in, w, size-4, correlation); err != nil {
			return err
		}
		if err := c.answers.pop(); err != nil {
			return err
		}
	}
}

// look reads an answer whole and hands it over, changed.
func (c *conn) look(in *bufio.Reader, w waiting, n int, correlation int32) error {
	if _, err := in.Discard(8); err != nil {
		return err
	}
	if n > maxFrame {
		return &refusal{reason: "the server's answer is too large to be looked into"}
	}
	body, err := read(in, nil, n)
	if err != nil {
		return err
	}
	if w.own != nil {
		w.own <- body
		return nil
	}
	body, err = w.edit(body)
	if err != nil {
		return &refusal{reason: fmt.Sprintf("the server's answer cannot be read: %v", err)}
	}
	_, err = bytes.NewReader(frame(correlation, false, body)).WriteTo(c.Client)
	return err
}
