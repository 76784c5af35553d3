package dns

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
)

// Config is what a Handler needs. The zero value of each field is a default.
type Config struct {
	// Event takes each verdict. It does not block.
	Event func(policy.Event)
	// Learn is given what an allowed answer says of a name. It returns when the data path
	// knows it, or ctx ends: only then the client gets the answer.
	Learn func(context.Context, Answer)
	// Refusal is what a question is answered with that no rule allows: RCodeRefused if it is 0.
	Refusal dnsmessage.RCode
	// Timeout is how long an answer over UDP is waited for; 10 s if it is 0.
	Timeout time.Duration
}

// Bounds of what clients can have going on at once: a pod that asks more is not answered, and
// leaves room for the others.
const (
	// maxHold is how long an answer waits for the data path (SEMANTICS 25).
	maxHold = 100 * time.Millisecond
	// podQuestions and allQuestions are questions over UDP without an answer.
	podQuestions = 256
	allQuestions = 4096
	// podConns and allConns are connections.
	podConns = 64
	allConns = 2048
	// connQuestions are questions of one connection without an answer: more are not read.
	connQuestions = 128
	// maxStray is how many datagrams that are no answer are read while one is waited for.
	maxStray = 32
	// idle is how long a connection may be silent, as resolvers' own limits are (RFC 7766).
	idle = 2 * time.Minute
)

// Handler serves DNS classes. It is safe for use by many goroutines.
type Handler struct {
	config    Config
	questions room
	conns     room
	matchers  matchers
}

// New returns a Handler.
func New(c Config) *Handler {
	if c.Event == nil {
		c.Event = func(policy.Event) {}
	}
	if c.Learn == nil {
		c.Learn = func(context.Context, Answer) {}
	}
	if c.Refusal == 0 {
		c.Refusal = dnsmessage.RCodeRefused
	}
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	return &Handler{config: c, questions: newRoom(podQuestions, allQuestions), conns: newRoom(podConns, allConns)}
}

// room counts what each client has going on.
type room struct {
	each, all int
	mu        *sync.Mutex
	used      map[netip.Addr]int
	total     *int
}

func newRoom(each, all int) room {
	return room{each: each, all: all, mu: &sync.Mutex{}, used: map[netip.Addr]int{}, total: new(int)}
}

// enter returns how to leave, or nil where there is no room.
func (r room) enter(client netip.Addr) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used[client] >= r.each || *r.total >= r.all {
		return nil
	}
	r.used[client]++
	*r.total++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		*r.total--
		if r.used[client]--; r.used[client] == 0 {
			delete(r.used, client)
		}
	}
}

// matchers keeps the matcher of each class, for as long as the class is the same value.
type matchers struct {
	mu sync.Mutex
	of map[policy.ClassID]matcher
}

type matcher struct {
	class *policy.Class
	names policy.NameMatcher
}

// maxMatchers bounds the matchers of classes that are gone.
const maxMatchers = 1024

func (m *matchers) get(c *policy.Class) policy.NameMatcher {
	m.mu.Lock()
	defer m.mu.Unlock()
	if got, ok := m.of[c.ID]; ok && got.class == c {
		return got.names
	}
	if m.of == nil || len(m.of) >= maxMatchers {
		m.of = map[policy.ClassID]matcher{}
	}
	got := matcher{class: c, names: policy.NewNameMatcher(*c)}
	m.of[c.ID] = got
	return got.names
}

// exchange is one question and what becomes of it.
type exchange struct {
	q        question
	src, dst netip.AddrPort
	protocol policy.Protocol
	d        policy.Decision
	class    *policy.Class
	began    time.Time
}

// judge decides on a question; plain is false for one that no resolver answers.
func (h *Handler) judge(x *exchange, plain bool) (allowed bool) {
	x.began = time.Now()
	x.d = h.matchers.get(x.class).Decide(policy.DNSRequest{Name: x.q.name})
	if !plain {
		x.d = policy.Decision{Verdict: policy.Denied, Class: x.class.ID, Reason: "no plain question"}
	}
	return x.d.Verdict == policy.Forwarded || x.d.Verdict == policy.Audited
}

// refuse tells of a refusal and returns what to answer.
func (h *Handler) refuse(x *exchange, b []byte) []byte {
	h.event(x, summary{code: h.config.Refusal})
	return answerOf(b, x.q, h.config.Refusal)
}

// answered learns from an answer and tells of it; false says that it must not be passed on.
func (h *Handler) answered(ctx context.Context, x *exchange, b []byte) bool {
	s, err := read(b, x.q)
	if err != nil && b[2]&2 == 0 { // a truncated answer may end anywhere
		return false
	}
	if err == nil && len(s.addrs) > 0 && x.q.class == dnsmessage.ClassINET {
		ctx, cancel := context.WithTimeout(ctx, maxHold)
		defer cancel()
		h.config.Learn(ctx, Answer{Client: x.src.Addr(), Name: policy.NormalizeName(x.q.name), Addrs: s.addrs, TTL: time.Duration(s.ttl) * time.Second})
	}
	h.event(x, s)
	return true
}

func (h *Handler) event(x *exchange, s summary) {
	reason := ""
	if x.d.Verdict != policy.Forwarded {
		reason = x.d.Reason
	}
	h.config.Event(policy.Event{
		Time: x.began, Source: policy.SourceProxy, Direction: x.class.Direction, Verdict: x.d.Verdict, Rule: x.d.Rule,
		Src: x.src, Dst: x.dst, Protocol: x.protocol, DropReason: reason,
		DNS: &policy.DNSEvent{Name: policy.NormalizeName(x.q.name), Type: uint16(x.q.typ), Code: uint16(s.code), Addrs: s.addrs,
			Aliases: s.aliases, TTL: s.ttl, Latency: time.Since(x.began)},
	})
}
