package dns

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// query is a client's message for a name.
func query(t testing.TB, id uint16, name string, typ dnsmessage.Type, edns bool) []byte {
	t.Helper()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	n, err := dnsmessage.NewName(name)
	check(t, errors.Join(err, b.StartQuestions(), b.Question(dnsmessage.Question{Name: n, Type: typ, Class: dnsmessage.ClassINET})))
	if edns {
		var h dnsmessage.ResourceHeader
		check(t, errors.Join(b.StartAdditionals(), h.SetEDNS0(4096, 0, false), b.OPTResource(h, dnsmessage.OPTResource{})))
	}
	out, err := b.Finish()
	check(t, err)
	return out
}

// rr is a record of an answer: an address, or an alias.
type rr struct {
	name, value string
	ttl         uint32
}

// reply answers a message with records.
func reply(t testing.TB, q []byte, records ...rr) []byte {
	t.Helper()
	var p dnsmessage.Parser
	h, err := p.Start(q)
	check(t, err)
	asked, err := p.Question()
	check(t, err)
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: h.ID, Response: true, RecursionDesired: true, RecursionAvailable: true})
	b.EnableCompression()
	check(t, errors.Join(b.StartQuestions(), b.Question(asked), b.StartAnswers()))
	for _, r := range records {
		head := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(r.name), Class: dnsmessage.ClassINET, TTL: r.ttl}
		if addr, err := netip.ParseAddr(r.value); err != nil {
			check(t, b.CNAMEResource(head, dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(r.value)}))
		} else if addr.Is4() {
			check(t, b.AResource(head, dnsmessage.AResource{A: addr.As4()}))
		} else {
			check(t, b.AAAAResource(head, dnsmessage.AAAAResource{AAAA: addr.As16()}))
		}
	}
	out, err := b.Finish()
	check(t, err)
	return out
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// bench is a Handler, its class, what it said, and a server that does what a test wants.
type bench struct {
	t      *testing.T
	h      *Handler
	class  *policy.Class
	server *net.UDPConn

	mu     sync.Mutex
	events []policy.Event
	learnt []Answer
	asked  [][]byte
}

func newBench(t *testing.T, c Config, answer func(q []byte) [][]byte) *bench {
	b := &bench{t: t, class: &policy.Class{ID: "c", Kind: policy.KindDNS, Direction: policy.Egress, DNS: []policy.DNSRule{
		{ID: policy.RuleID{Path: "dns[0]"}, Name: "www.example.com"}, {ID: policy.RuleID{Path: "dns[1]"}, Name: "*.cilium.io"}}}}
	c.Event = func(e policy.Event) { b.mu.Lock(); defer b.mu.Unlock(); b.events = append(b.events, e) }
	if c.Learn == nil {
		c.Learn = func(_ context.Context, a Answer) { b.mu.Lock(); defer b.mu.Unlock(); b.learnt = append(b.learnt, a) }
	}
	if c.Timeout == 0 {
		c.Timeout = 300 * time.Millisecond
	}
	b.h = New(c)
	server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	t.Cleanup(func() { server.Close() })
	b.server = server
	go func() {
		buffer := make([]byte, maxSize)
		for {
			n, from, err := server.ReadFromUDPAddrPort(buffer)
			if err != nil {
				return
			}
			q := bytes.Clone(buffer[:n])
			b.mu.Lock()
			b.asked = append(b.asked, q)
			b.mu.Unlock()
			for _, a := range answer(q) {
				server.WriteToUDPAddrPort(a, from)
			}
		}
	}()
	return b
}

// ask gives the handler a datagram and returns what the client gets: nil for nothing.
func (b *bench) ask(data []byte) (got []byte) {
	dst := b.server.LocalAddr().(*net.UDPAddr).AddrPort()
	b.h.ServeDatagram(b.t.Context(), &proxy.Datagram{
		Data: data, Src: netip.MustParseAddrPort("10.0.0.1:40000"), Dst: dst, Class: func() *policy.Class { return b.class },
		Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "udp", dst.String())
		},
		Reply: func(data []byte) error { got = data; return nil },
	})
	return got
}

func code(t testing.TB, b []byte) dnsmessage.RCode {
	t.Helper()
	var m dnsmessage.Message
	check(t, m.Unpack(b))
	if !m.Response || len(m.Questions) != 1 {
		t.Errorf("no answer: %v", m.GoString())
	}
	return m.RCode
}

func TestQuestions(t *testing.T) {
	answer := func(q []byte) [][]byte { return [][]byte{reply(t, q, rr{"www.example.com.", "192.0.2.1", 60})} }
	b := newBench(t, Config{}, answer)
	for _, test := range []struct {
		name    string
		allowed bool
	}{{"www.example.com.", true}, {"wWw.eXample.COM.", true}, {"a.cilium.io.", true}, {"example.com.", false}, {"www.example.com.evil.example.", false}, {"a.b.cilium.io.", false}} {
		for _, edns := range []bool{false, true} {
			q := query(t, 7, test.name, dnsmessage.TypeA, edns)
			before := len(b.asked)
			got := b.ask(q)
			if test.allowed {
				// The bytes are the client's and the server's own.
				if !bytes.Equal(got, answer(q)[0]) || !bytes.Equal(b.asked[before], q) {
					t.Errorf("%s: asked %x and got %x", test.name, b.asked[before], got)
				}
				continue
			}
			if len(b.asked) != before || code(t, got) != dnsmessage.RCodeRefused || !bytes.Equal(got[:2], q[:2]) || !bytes.Contains(got, q[12:17]) {
				t.Errorf("%s: %x", test.name, got)
			}
			if edns != (got[11] == 1) {
				t.Errorf("%s: EDNS %v, and the answer has %d additional records", test.name, edns, got[11])
			}
		}
	}
	e := b.events[len(b.events)-1]
	if e.Verdict != policy.Denied || e.DNS.Name != "a.b.cilium.io" || e.DNS.Code != 5 || e.DropReason == "" || e.Src.Port() != 40000 {
		t.Errorf("event %+v %+v", e, e.DNS)
	}
	if e := b.events[0]; e.Verdict != policy.Forwarded || e.Rule.Path != "dns[0]" || len(e.DNS.Addrs) != 1 || e.DNS.TTL != 60 {
		t.Errorf("event %+v %+v", e, e.DNS)
	}
	if code(t, newBench(t, Config{Refusal: dnsmessage.RCodeNameError}, nil).ask(query(t, 1, "no.example.", dnsmessage.TypeA, false))) != dnsmessage.RCodeNameError {
		t.Error("no NXDOMAIN where that is asked for")
	}
}

func TestAudit(t *testing.T) {
	b := newBench(t, Config{}, func(q []byte) [][]byte { return [][]byte{reply(t, q)} })
	b.class.Audit = true
	if got := b.ask(query(t, 1, "no.example.", dnsmessage.TypeA, false)); got == nil || code(t, got) != 0 {
		t.Errorf("%x", got)
	}
	if e := b.events[0]; e.Verdict != policy.Audited || e.DropReason == "" {
		t.Errorf("event %+v", e)
	}
}

// What is no plain question never reaches the server.
func TestHostileQuestions(t *testing.T) {
	b := newBench(t, Config{}, func([]byte) [][]byte { return nil })
	good := query(t, 1, "www.example.com.", dnsmessage.TypeA, false)
	with := func(change func([]byte)) []byte { c := bytes.Clone(good); change(c); return c }
	for name, test := range map[string]struct {
		data   []byte
		refuse bool
	}{
		"empty":           {nil, false},
		"half a header":   {good[:6], false},
		"half a question": {good[:20], false},
		"an answer":       {with(func(b []byte) { b[2] |= 0x80 }), false},
		"no question":     {with(func(b []byte) { b[5] = 0 }), false},
		"two questions":   {append(with(func(b []byte) { b[5] = 2 }), good[12:]...), false},
		"a loop":          {append(append(bytes.Clone(good[:12]), 0xc0, 12), good[len(good)-4:]...), false},
		"an update":       {with(func(b []byte) { b[2] = 5 << 3 }), true},
		"a notification":  {with(func(b []byte) { b[2] = 4 << 3 }), true},
		"a dot in a label": {with(func(b []byte) {
			b[12+4] = '.' // www.example.com as www<7>example: the length of the second label
		}), false},
		"a zone transfer":    {query(t, 1, "www.example.com.", dnsmessage.TypeAXFR, false), true},
		"a record too many":  {with(func(b []byte) { b[7] = 1 }), false},
		"a broken extension": {with(func(b []byte) { b[11] = 1 }), false},
	} {
		got := b.ask(test.data)
		if (got != nil) != test.refuse || test.refuse && code(t, got) != dnsmessage.RCodeRefused {
			t.Errorf("%s: %x", name, got)
		}
	}
	if len(b.asked) != 0 {
		t.Errorf("the server was asked: %x", b.asked)
	}
}

// Only what answers the question is passed on, however much else comes before it.
func TestHostileAnswers(t *testing.T) {
	q := query(t, 0x1234, "www.example.com.", dnsmessage.TypeA, true)
	right := reply(t, q, rr{"www.example.com.", "192.0.2.1", 60})
	with := func(change func([]byte)) []byte { c := bytes.Clone(right); change(c); return c }
	other := reply(t, query(t, 0x1234, "www.evil.example.", dnsmessage.TypeA, false), rr{"www.evil.example.", "192.0.2.66", 60})
	otherType := reply(t, query(t, 0x1234, "www.example.com.", dnsmessage.TypeAAAA, false))
	wrong := map[string][]byte{
		"nothing": {}, "half a header": right[:7], "another id": with(func(b []byte) { b[0]++ }), "a question": q,
		"another name": other, "another type": otherType,
		"a loop in a record":         append(with(func(b []byte) { b[7] = 2 }), 0xc0, byte(len(right)), 0, 1, 0, 1, 0, 0, 0, 0, 0, 0),
		"half a record":              right[:len(right)-3],
		"no question, and an answer": append(with(func(b []byte) { b[5] = 0 })[:12:12], right[33:]...),
	}
	for name, bad := range wrong {
		b := newBench(t, Config{}, func([]byte) [][]byte { return [][]byte{bad, right} })
		if got := b.ask(q); !bytes.Equal(got, right) {
			t.Errorf("%s: %x", name, got)
		}
		if len(b.learnt) != 1 || b.learnt[0].Addrs[0] != netip.MustParseAddr("192.0.2.1") {
			t.Errorf("%s: learnt %+v", name, b.learnt)
		}
		if got := newBench(t, Config{}, func([]byte) [][]byte { return [][]byte{bad} }).ask(q); got != nil {
			t.Errorf("%s alone: %x", name, got)
		}
	}
	failure := with(func(b []byte) { b[3] = 0x80 | byte(dnsmessage.RCodeFormatError); copy(b[4:12], make([]byte, 8)) })[:12]
	if got := newBench(t, Config{}, func([]byte) [][]byte { return [][]byte{failure} }).ask(q); !bytes.Equal(got, failure) {
		t.Errorf("a server that cannot read the question: %x", got)
	}
	truncated := with(func(b []byte) { b[2] |= 2 })
	if got := newBench(t, Config{}, func([]byte) [][]byte { return [][]byte{truncated[:40]} }).ask(q); !bytes.Equal(got, truncated[:40]) {
		t.Errorf("a truncated answer: %x", got)
	}
}

func TestServerAway(t *testing.T) {
	b := newBench(t, Config{}, nil)
	b.server.Close()
	if got := b.ask(query(t, 1, "www.example.com.", dnsmessage.TypeA, false)); got == nil || code(t, got) != dnsmessage.RCodeServerFailure {
		t.Errorf("%x", got)
	}
}

// Addresses count for the name that was asked for, over aliases, and for nothing else.
func TestLearns(t *testing.T) {
	for name, test := range map[string]struct {
		records []rr
		want    string
		ttl     time.Duration
	}{
		"direct":                 {[]rr{{"www.example.com.", "192.0.2.1", 60}, {"WWW.example.com.", "2001:db8::1", 30}}, "192.0.2.1 2001:db8::1", 30 * time.Second},
		"over aliases":           {[]rr{{"b.cdn.net.", "192.0.2.2", 60}, {"www.example.com.", "a.cdn.net.", 20}, {"a.cdn.net.", "b.cdn.net.", 40}}, "192.0.2.2", 20 * time.Second},
		"others beside":          {[]rr{{"www.example.com.", "192.0.2.1", 60}, {"bank.example.", "192.0.2.66", 60}}, "192.0.2.1", time.Minute},
		"others only":            {[]rr{{"bank.example.", "192.0.2.66", 60}}, "", 0},
		"a loop of aliases":      {[]rr{{"www.example.com.", "a.net.", 60}, {"a.net.", "www.example.com.", 60}, {"a.net.", "192.0.2.3", 5}}, "192.0.2.3", 5 * time.Second},
		"nothing":                {nil, "", 0},
		"a huge time":            {[]rr{{"www.example.com.", "192.0.2.1", 1<<32 - 1}}, "192.0.2.1", (1<<32 - 1) * time.Second},
		"an alias of an alias's": {[]rr{{"x.net.", "192.0.2.9", 1}, {"y.net.", "x.net.", 1}}, "", 0},
	} {
		b := newBench(t, Config{}, func(q []byte) [][]byte { return [][]byte{reply(t, q, test.records...)} })
		b.ask(query(t, 1, "www.EXAMPLE.com.", dnsmessage.TypeA, false))
		var got []string
		for _, a := range b.learnt {
			for _, addr := range a.Addrs {
				got = append(got, addr.String())
			}
			if a.Name != "www.example.com" || a.TTL != test.ttl || a.Client != netip.MustParseAddr("10.0.0.1") {
				t.Errorf("%s: %+v", name, a)
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: learnt %v, want %s", name, got, test.want)
		}
	}
}

// The client gets its answer when the data path knows the addresses, or after a moment.
func TestHold(t *testing.T) {
	known := make(chan struct{})
	b := newBench(t, Config{Learn: func(ctx context.Context, _ Answer) {
		select {
		case <-known:
		case <-ctx.Done():
		}
	}}, func(q []byte) [][]byte { return [][]byte{reply(t, q, rr{"www.example.com.", "192.0.2.1", 60})} })
	began := time.Now()
	if b.ask(query(t, 1, "www.example.com.", dnsmessage.TypeA, false)) == nil || time.Since(began) < maxHold {
		t.Error("the answer did not wait")
	}
	close(known)
	if b.ask(query(t, 1, "www.example.com.", dnsmessage.TypeA, false)) == nil {
		t.Error("no answer")
	}
}

func TestRoom(t *testing.T) {
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	r := newRoom(2, 3)
	leave := r.enter(a)
	if r.enter(a) == nil || r.enter(a) != nil || r.enter(b) == nil || r.enter(b) != nil {
		t.Error("the bounds are not kept")
	}
	leave()
	if r.enter(b) == nil {
		t.Error("there is no room for what left")
	}
}

func FuzzMessages(f *testing.F) {
	q := query(f, 1, "www.example.com.", dnsmessage.TypeA, true)
	f.Add(q, reply(f, q, rr{"www.example.com.", "a.net.", 60}, rr{"a.net.", "192.0.2.1", 60}))
	f.Fuzz(func(t *testing.T, question, answer []byte) {
		q, err := readQuestion(question)
		if err != nil && !errors.Is(err, errRefused) {
			return
		}
		if q.end > len(question) || q.size < minSize {
			t.Fatalf("%+v", q)
		}
		refusal := answerOf(question, q, dnsmessage.RCodeRefused)
		var m dnsmessage.Message
		if err := m.Unpack(refusal); err != nil || m.ID != q.id || len(m.Questions) != 1 || m.Questions[0].Name.String() != q.name {
			t.Fatalf("refusal %x of %x: %v", refusal, question, err)
		}
		if !isAnswer(answer, q) {
			return
		}
		if s, err := read(answer, q); err == nil && (len(s.addrs) > maxAddrs || len(s.aliases) > maxAliases) {
			t.Fatalf("%d addresses over %d aliases", len(s.addrs), len(s.aliases))
		}
	})
}
