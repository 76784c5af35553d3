package attack

import (
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/test/attack/node"
)

// liar is a DNS server of an attacker: what it says is the test's.
type liar struct {
	mu    sync.Mutex
	asked map[string]int
	says  map[string]func(q dnsmessage.Message) []datagram
}

// say has the server answer a name with these records, and nothing else.
func (l *liar) say(name string, answers ...dnsmessage.Resource) {
	l.sayAll(name, func(q dnsmessage.Message) []datagram { return []datagram{{message: packed(q, answers)}} })
}

func (l *liar) sayAll(name string, f func(q dnsmessage.Message) []datagram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.says[name] = f
}

func (l *liar) times(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked[name]
}

// packed is an answer to q; nil where it cannot be written.
func packed(q dnsmessage.Message, answers []dnsmessage.Resource) []byte {
	q.Response, q.Additionals, q.Answers = true, nil, answers
	out, err := q.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (l *liar) lies(b []byte) []datagram {
	var q dnsmessage.Message
	if q.Unpack(b) != nil || len(q.Questions) == 0 {
		return nil
	}
	name := strings.ToLower(q.Questions[0].Name.String())
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[name]++
	if f := l.says[name]; f != nil {
		return f(q)
	}
	return []datagram{{message: packed(q, []dnsmessage.Resource{resource(q.Questions[0].Name.String(), 60, &dnsmessage.AResource{A: [4]byte{192, 0, 2, 1}})})}}
}

func (l *liar) serve(t *testing.T, pod *node.Pod) {
	t.Helper()
	serveDNS(t, pod, func(q []byte, _ netip.Addr) []datagram { return l.lies(q) })
}

// chain are aliases of a name, and at their end an address.
func chain(name, addr string, aliases int) []dnsmessage.Resource {
	var out []dnsmessage.Resource
	for i := range aliases {
		next := fmt.Sprintf("alias%d.cdn.example.", i)
		out = append(out, resource(name, 60, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(next)}))
		name = next
	}
	return append(out, addressOf(name, addr, 60))
}

func address6(name, addr string) dnsmessage.Resource {
	return resource(name, 60, &dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(addr).As16()})
}

// hint is an HTTPS record with an address for clients to try.
func hint(name, addr string) dnsmessage.Resource {
	a := netip.MustParseAddr(addr).As4()
	return resource(name, 60, &dnsmessage.UnknownResource{Type: 65, Data: append([]byte{0, 1, 0, 0, 4, 0, 4}, a[:]...)})
}
