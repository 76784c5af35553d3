package dns

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// Serve judges the questions of a connection. Those that are allowed go to the server over
// one connection, and answers come back in the order in which the server gives them.
func (h *Handler) Serve(ctx context.Context, c *proxy.Conn) {
	leave := h.conns.enter(c.Src.Addr())
	if leave == nil {
		proxy.Reset(c.Client)
		return
	}
	defer leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &session{h: h, c: c, open: map[key]*exchange{}, room: make(chan struct{}, connQuestions)}
	stop := context.AfterFunc(ctx, func() { c.Client.Close() })
	defer stop()
	if err := s.questions(ctx); err != nil {
		// What is no DNS is never passed on (SEMANTICS, refusals).
		proxy.Reset(c.Client)
		cancel()
	}
	s.wait()
}

// session is one connection of a client.
type session struct {
	h *Handler
	c *proxy.Conn
	// room holds an element for each question without an answer.
	room chan struct{}

	mu     sync.Mutex // of what follows
	server net.Conn
	open   map[key]*exchange
	done   chan struct{}
	// last is true when the client asks no more.
	last bool

	write sync.Mutex // of the client's side
}

// key tells the questions of a connection apart, which may be asked in any order.
type key struct {
	id    uint16
	name  string
	typ   uint16
	class uint16
}

func keyOf(q question) key {
	return key{q.id, policy.NormalizeName(q.name), uint16(q.typ), uint16(q.class)}
}

var errTwice = errors.New("a question was asked again before it was answered")

// questions reads the client's messages until it has no more.
func (s *session) questions(ctx context.Context) error {
	for {
		b, err := readMessage(s.c.Client)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return err
		}
		q, err := readQuestion(b)
		if err != nil && !errors.Is(err, errRefused) {
			return err
		}
		x := &exchange{q: q, src: s.c.Src, dst: s.c.Dst, protocol: policy.ProtocolTCP, class: s.c.Class()}
		if !s.h.judge(x, err == nil) {
			if err := s.reply(s.h.refuse(x, b)); err != nil {
				return err
			}
			continue
		}
		select {
		case s.room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := s.pass(ctx, x, b); err != nil {
			return err
		}
	}
}

// pass sends an allowed question on.
func (s *session) pass(ctx context.Context, x *exchange, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		server, err := s.c.Dial(ctx)
		if err != nil {
			return err
		}
		s.server, s.done = server, make(chan struct{})
		go s.answers(ctx, server)
	}
	if s.open[keyOf(x.q)] != nil {
		return errTwice
	}
	s.open[keyOf(x.q)] = x
	return writeMessage(s.server, b)
}

// answers passes on what answers an open question; the connection ends with anything else.
func (s *session) answers(ctx context.Context, server net.Conn) {
	defer close(s.done)
	defer s.c.Client.Close()
	defer server.Close()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	for {
		b, err := readMessage(server)
		if err != nil {
			return
		}
		x := s.take(b)
		if x == nil {
			return
		}
		// A zone is not asked for here: one message answers one question.
		passed := s.h.answered(ctx, x, b)
		<-s.room
		if !passed || s.reply(b) != nil {
			return
		}
		if s.finished() {
			return
		}
	}
}

// take finds the open question that b answers.
func (s *session) take(b []byte) *exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(b) < headerSize {
		return nil
	}
	id := binary.BigEndian.Uint16(b)
	for k, x := range s.open {
		if k.id == id && isAnswer(b, x.q) {
			delete(s.open, k)
			return x
		}
	}
	return nil
}

func (s *session) reply(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	return writeMessage(s.c.Client, b)
}

// wait lets the server answer what is open, after the client has asked its last.
func (s *session) wait() {
	s.mu.Lock()
	s.last = true
	done, server, open := s.done, s.server, len(s.open)
	s.mu.Unlock()
	if done == nil {
		return
	}
	if open == 0 {
		server.Close()
	} else {
		server.SetReadDeadline(time.Now().Add(s.h.config.Timeout)) //nolint:errcheck // it is closed already
	}
	<-done
}

// finished says that the client asks no more, and has all answers.
func (s *session) finished() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last && len(s.open) == 0
}

// readMessage reads a message behind its length (RFC 1035, 4.2.2).
func readMessage(c net.Conn) ([]byte, error) {
	if err := c.SetReadDeadline(time.Now().Add(idle)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(c, b)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// writeMessage writes a message and its length at once.
func writeMessage(c net.Conn, b []byte) error {
	if err := c.SetWriteDeadline(time.Now().Add(idle)); err != nil {
		return err
	}
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}
