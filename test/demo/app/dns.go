package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is what the server says of names: what a client has told it, and else one address, so
// that a question that comes through can be told from one that does not.
type zone struct {
	mu    sync.Mutex
	addrs map[string][]netip.Addr
}

// elsewhere is the address of names that the zone does not know.
func elsewhere() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 53}) }

// set takes "name=address" in place of all that it knew.
func (z *zone) set(records []string) error {
	addrs := map[string][]netip.Addr{}
	for _, r := range records {
		name, text, _ := strings.Cut(r, "=")
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("record %q: %w", r, err)
		}
		name = strings.ToLower(strings.TrimSuffix(name, ".")) + "."
		addrs[name] = append(addrs[name], addr)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs = addrs
	return nil
}

// answer is the message that answers q; nil for what is no question.
func (z *zone) answer(q []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || m.Response || len(m.Questions) != 1 {
		return nil
	}
	z.mu.Lock()
	addrs := z.addrs[strings.ToLower(m.Questions[0].Name.String())]
	z.mu.Unlock()
	if len(addrs) == 0 {
		addrs = []netip.Addr{elsewhere()}
	}
	m.Header = dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}
	m.Answers, m.Authorities, m.Additionals = nil, nil, nil
	for _, a := range addrs {
		head := dnsmessage.ResourceHeader{Name: m.Questions[0].Name, Class: dnsmessage.ClassINET, TTL: 30}
		switch {
		case a.Is4() && m.Questions[0].Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && m.Questions[0].Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: head, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// serveUDP answers questions until ctx is done.
func (z *zone) serveUDP(ctx context.Context, listen string) error {
	conn, err := net.ListenPacket("udp", listen)
	if err != nil {
		return fmt.Errorf("serve DNS: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	b := make([]byte, 65535)
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return nil
		}
		if a := z.answer(b[:n]); a != nil {
			conn.WriteTo(a, from) //nolint:errcheck // the client asks again
		}
	}
}

// serveTCP answers the questions of one connection.
func (z *zone) serveTCP(conn net.Conn) {
	defer conn.Close()
	for {
		b, err := readDNS(conn)
		if err != nil {
			return
		}
		a := z.answer(b)
		if a == nil || writeDNS(conn, a) != nil {
			return
		}
	}
}

func readDNS(conn net.Conn) ([]byte, error) {
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(conn, b)
	return b, err
}

func writeDNS(conn net.Conn, b []byte) error {
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
	return err
}

// question is what lookup asks.
type question struct {
	server, name string
	tcp          bool
	timeout      time.Duration
}

// lookup asks one server one question, and returns the answer's code and addresses, or an error
// that begins with "no answer".
func lookup(ctx context.Context, q question) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	text, err := q.ask(ctx)
	if err != nil {
		return "", fmt.Errorf("no answer: %s", reason(err, q.timeout))
	}
	return text, nil
}

func (q question) ask(ctx context.Context) (string, error) {
	name, err := dnsmessage.NewName(strings.TrimSuffix(q.name, ".") + ".")
	if err != nil {
		return "", err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: uint16(time.Now().UnixNano()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	asked, err := m.Pack()
	if err != nil {
		return "", err
	}
	network, read, write := "udp", readDatagram, func(c net.Conn, b []byte) error { _, err := c.Write(b); return err }
	if q.tcp {
		network, read, write = "tcp", readDNS, writeDNS
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, network, q.server)
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	defer conn.Close()
	if err := write(conn, asked); err != nil {
		return "", err
	}
	got, err := read(conn)
	if err != nil {
		return "", errors.Join(ctx.Err(), err)
	}
	var a dnsmessage.Message
	if err := a.Unpack(got); err != nil {
		return "", err
	}
	if a.ID != m.ID || !a.Response {
		return "", errors.New("an answer to another question")
	}
	words := []string{code(a.RCode)}
	for _, r := range a.Answers {
		if body, ok := r.Body.(*dnsmessage.AResource); ok {
			words = append(words, netip.AddrFrom4(body.A).String())
		}
	}
	return strings.Join(words, " "), nil
}

func readDatagram(conn net.Conn) ([]byte, error) {
	b := make([]byte, 65535)
	n, err := conn.Read(b)
	return b[:n], err
}

// code is the name that dig prints.
func code(c dnsmessage.RCode) string {
	names := map[dnsmessage.RCode]string{dnsmessage.RCodeSuccess: "NOERROR", dnsmessage.RCodeNameError: "NXDOMAIN",
		dnsmessage.RCodeRefused: "REFUSED", dnsmessage.RCodeServerFailure: "SERVFAIL"}
	if name, ok := names[c]; ok {
		return name
	}
	return c.String()
}
