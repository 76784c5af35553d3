package attack

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

const namesIntro = `
Names and the DNS, on such a node too: each line is a test, with a resolver of the attacker's that a policy
allows to ask. "Denied" of an address means that a connection to it is still refused when the answer has come.
`

// nameSuite is a node with a client that may look up names of example.com at a resolver that lies, and
// connect to what they are.
type nameSuite struct {
	*node.Node
	ledger
	client, at, other *node.Pod
	resolver          string
	liar              liar
}

// TestNameAttacks has each attack by the DNS as a line of its own.
func TestNameAttacks(t *testing.T) {
	s := &nameSuite{Node: node.New(t), liar: liar{asked: map[string]int{}, says: map[string]func(dnsmessage.Message) []datagram{}}}
	s.client = s.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	s.at = s.AddPod("resolver", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	s.other = s.AddPod("other", "10.244.1.4", policy.Labels{"k8s:app": "other"})
	s.resolver = net.JoinHostPort(s.at.Addrs[0].String(), "53")
	far := s.AddRemote("far", "10.244.2.2", nil)
	for _, addr := range []string{outside, outsideOther, outsideChain, outsideFree, "169.254.169.254", "169.254.7.7", "100.100.100.200"} {
		node.AddAddr(s.Node, far.NS, "eth0", addr+"/32")
		s.Route(s.Host, far.HostVeth(), addr+"/32")
	}
	for _, addr := range []string{"64:ff9b::a9fe:a9fe", "64:ff9b::af4:104", "2001:db8::7"} {
		node.AddAddr(s.Node, far.NS, "eth0", addr+"/128")
		s.Route(s.Host, far.HostVeth(), addr+"/128")
	}
	for _, ns := range []*node.Pod{far, s.other, s.at} {
		go answerHTTP(s.Listen(ns.NS, "[::]:80"))
	}
	s.liar.serve(t, s.at)
	s.Publish(namesPolicy("client", "*.example.com"), namesPolicy("other", "two.example.com"))
	s.say("ready.example.com.")
	for deadline := time.Now().Add(30 * time.Second); ; {
		if _, err := lookUp(t, s.client, "udp", s.resolver, "ready.example.com."); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no lookup is answered")
		}
	}
	t.Run("Questions", s.questions)
	t.Run("Answers", s.answers)
	t.Run("Rebinding", s.rebinding)
	t.Run("Floods", s.floods)
	t.Run("Table", func(t *testing.T) {
		s.table(t, page{mark: "name attack results", sections: []string{"Questions", "Answers", "Rebinding", "Floods of names"}, intro: namesIntro})
	})
}

func (s *nameSuite) questions(t *testing.T) {
	question := func(attack, expected string, run func(t *testing.T)) {
		s.attack(t, result{"Questions", attack, expected, "DNS server"}, run)
	}
	s.Publish(dnsPolicy(), namesPolicy("other", "two.example.com"))
	for name, attack := range map[string]string{
		"secret.evil.example.": "a name that no rule allows", "www.example.com.evil.example.": "an allowed name inside of another",
		"a.www.example.com.": "a name with a label more than its pattern", "example.com.": "the name above a pattern's",
	} {
		question(attack+", over UDP and TCP", denied, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				if m, err := lookUp(t, s.client, network, s.resolver, name); err != nil || m.RCode != dnsmessage.RCodeRefused {
					t.Errorf("%s over %s: %v, %v", name, network, m, err)
				}
			}
			if n := s.liar.times(name); n != 0 {
				t.Errorf("the server was asked for %s", name)
			}
		})
	}
	question("an allowed name in other letters (0x20), over UDP and TCP", same, func(t *testing.T) {
		for _, network := range []string{"udp", "tcp"} {
			if m, err := lookUp(t, s.client, network, s.resolver, "wWw.ExamPle.coM."); err != nil || len(m.Answers) != 1 || m.Questions[0].Name.String() != "wWw.ExamPle.coM." {
				t.Errorf("over %s: %v, %v", network, m, err)
			}
		}
	})
	question("a resolver that no rule allows", denied, func(t *testing.T) {
		var wrong liar
		wrong.asked, wrong.says = map[string]int{}, map[string]func(dnsmessage.Message) []datagram{}
		wrong.serve(t, s.other)
		if _, err := lookUp(t, s.client, "udp", net.JoinHostPort(s.other.Addrs[0].String(), "53"), "www.example.com."); err == nil || wrong.times("www.example.com.") != 0 {
			t.Errorf("it was asked %d times: %v", wrong.times("www.example.com."), err)
		}
	})
	two := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{
		{Name: dnsmessage.MustNewName("www.example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET},
		{Name: dnsmessage.MustNewName("smuggled.evil.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	loop := append(make([]byte, 12), 0xc0, 12, 0, 1, 0, 1)
	loop[5] = 1
	for attack, b := range map[string][]byte{
		"two questions in one message": must(two.Pack()), "a name whose pointer leads to itself": loop,
		"a message that says it is an answer": packed(dnsmessage.Message{Questions: two.Questions[:1]}, nil),
	} {
		question(attack, denied, func(t *testing.T) {
			before := s.liar.times("www.example.com.")
			for _, network := range []string{"udp", "tcp"} {
				if got, err := s.exchange(t, network, b); err == nil {
					t.Errorf("over %s it was answered: %x", network, got)
				}
			}
			if s.liar.times("www.example.com.") != before {
				t.Error("it reached the server")
			}
		})
	}
	for opcode, attack := range map[dnsmessage.OpCode]string{5: "an update of an allowed name", 4: "a notification of an allowed name"} {
		question(attack, denied, func(t *testing.T) {
			m := dnsmessage.Message{Header: dnsmessage.Header{ID: 9, OpCode: opcode}, Questions: two.Questions[:1]}
			var got dnsmessage.Message
			b, err := s.exchange(t, "udp", must(m.Pack()))
			if err != nil || got.Unpack(b) != nil || got.RCode != dnsmessage.RCodeRefused {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
	question("HTTP on the port of the DNS", denied, func(t *testing.T) {
		if got, err := s.exchange(t, "tcp", []byte("GET / HTTP/1.1\r\n\r\n")); err == nil {
			t.Errorf("it was answered: %q", got)
		}
	})
	question("DNS over TLS and over HTTPS (ports 853 and 443 of the resolver)", denied, func(t *testing.T) {
		for _, port := range []string{"853", "443"} {
			s.Listen(s.at.NS, "[::]:"+port)
			if reaches(t, s.client, net.JoinHostPort(s.at.Addrs[0].String(), port)) {
				t.Errorf("port %s is open", port)
			}
		}
	})
	s.Publish(namesPolicy("client", "*.example.com"), namesPolicy("other", "two.example.com"))
}

func (s *nameSuite) answers(t *testing.T) {
	answer := func(attack, expected string, run func(t *testing.T)) {
		s.attack(t, result{"Answers", attack, expected, "DNS server"}, run)
	}
	answer("answers with another id, to another question and from another port before the right one", same, func(t *testing.T) {
		s.liar.sayAll("spoofed.example.com.", func(q dnsmessage.Message) []datagram {
			right, wrongID, wrongName := q, q, q
			wrongID.ID++
			wrongName.Questions = []dnsmessage.Question{{Name: dnsmessage.MustNewName("www.example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}
			bad := []dnsmessage.Resource{addressOf("spoofed.example.com.", outsideFree, 60)}
			return []datagram{{message: packed(wrongID, bad)}, {message: packed(wrongName, bad)}, {message: packed(right, bad), otherPort: true}, {message: []byte{1, 2, 3}},
				{message: packed(right, []dnsmessage.Resource{addressOf("spoofed.example.com.", outside, 60)})}}
		})
		s.leads(t, "spoofed.example.com.", outsideFree, false)
		s.leads(t, "spoofed.example.com.", outside, true)
	})
	answer("an answer that nobody asked for, from the resolver", denied, func(t *testing.T) {
		conn, err := node.Dial(t.Context(), s.at.NS, net.Dialer{LocalAddr: &net.UDPAddr{Port: 5454}}, "udp", net.JoinHostPort(s.client.Addrs[0].String(), "40000"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		q := dnsmessage.Message{Header: dnsmessage.Header{ID: 1}, Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("unasked.example.com."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
		for range 10 {
			conn.Write(packed(q, []dnsmessage.Resource{addressOf("unasked.example.com.", outsideFree, 60)}))
		}
		if reaches(t, s.client, outsideFree+":80") {
			t.Error("the address is open")
		}
	})
	answer("addresses of another name beside the answer", denied, func(t *testing.T) {
		s.say("beside.example.com.", addressOf("beside.example.com.", outside, 60), addressOf("victim.example.com.", outsideFree, 60))
		s.leads(t, "beside.example.com.", outsideFree, false)
	})
	answer("an address that is only a hint of an HTTPS record", denied, func(t *testing.T) {
		s.say("hint.example.com.", hint("hint.example.com.", outsideFree))
		s.leads(t, "hint.example.com.", outsideFree, false)
	})
	answer("an alias under a name that no policy names", denied, func(t *testing.T) {
		s.say("elsewhere.example.net.", chain("elsewhere.example.net.", outsideFree, 1)...)
		s.leads(t, "elsewhere.example.net.", outsideFree, false)
	})
	answer("a chain of 15 aliases", same, func(t *testing.T) {
		s.say("chain.example.com.", chain("chain.example.com.", outsideChain, 15)...)
		s.leads(t, "chain.example.com.", outsideChain, true)
	})
	answer("a chain of 40 aliases", denied, func(t *testing.T) {
		s.say("long.example.com.", chain("long.example.com.", outsideFree, 40)...)
		s.leads(t, "long.example.com.", outsideFree, false)
	})
	answer("aliases that lead to each other", denied, func(t *testing.T) {
		a, b := "loop.example.com.", "pool.example.com."
		s.say(a, resource(a, 60, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(b)}), resource(b, 60, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(a)}),
			addressOf("other.example.com.", outsideFree, 60))
		s.leads(t, a, outsideFree, false)
	})
	answer("an IPv6 address in the answer to an IPv4 question, with a lifetime of 0", same, func(t *testing.T) {
		s.say("both.example.com.", address6("both.example.com.", "2001:db8::7"))
		s.leads(t, "both.example.com.", "2001:db8::7", true)
	})
	answer("what another pod with other rules has been told", denied, func(t *testing.T) {
		s.say("two.example.com.", addressOf("two.example.com.", outsideOther, 60))
		s.leads(t, "two.example.com.", outsideOther, true)
		if reaches(t, s.other, outsideOther+":80") {
			t.Error("a pod that has not asked reaches it")
		}
	})
}

func (s *nameSuite) rebinding(t *testing.T) {
	pod, pod6 := s.other.Addrs[0].String(), s.other.Addrs[1].String()
	for _, to := range []struct{ what, addr string }{
		{"a pod", pod}, {"a pod's IPv6 address", pod6}, {"the resolver's own pod", s.at.Addrs[0].String()}, {"the node", node.Addr}, {"another node", node.OtherNode},
		{"loopback", "127.0.0.1"}, {"the metadata service", "169.254.169.254"}, {"a link-local address", "169.254.7.7"}, {"a cloud's metadata service", "100.100.100.200"},
		{"a pod, written as IPv6 (::ffff:0:0/96)", "::ffff:" + pod}, {"the metadata service, behind NAT64", "64:ff9b::a9fe:a9fe"}, {"a pod, behind NAT64", "64:ff9b::af4:104"},
		{"nowhere (0.0.0.0)", "0.0.0.0"}, {"everybody (255.255.255.255)", "255.255.255.255"},
	} {
		s.attack(t, result{"Rebinding", "an allowed name leads to " + to.what, denied, "DNS server"}, func(t *testing.T) {
			name := fmt.Sprintf("r%d.example.com.", len(s.results))
			kind := addressOf
			if strings.Contains(to.addr, ":") {
				kind = func(name, addr string, _ uint32) dnsmessage.Resource { return address6(name, addr) }
			}
			record := kind(name, to.addr, 60)
			s.say(name, record)
			before := s.refused(t)
			s.leads(t, name, to.addr, false)
			for deadline := time.Now().Add(10 * time.Second); s.refused(t) <= before; time.Sleep(50 * time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("the enforcer does not say that it refused the address")
				}
			}
		})
	}
}

func (s *nameSuite) floods(t *testing.T) {
	flood := func(attack string, run func(t *testing.T)) {
		s.attack(t, result{"Floods of names", attack, works, "DNS server"}, run)
	}
	goesOn := func(t *testing.T, rounds int) {
		t.Helper()
		for i := range rounds {
			if m, err := lookUp(t, s.other, "udp", s.resolver, fmt.Sprintf("free%d.example.org.", i)); err != nil || len(m.Answers) != 1 {
				t.Errorf("another pod's lookup: %v, %v", m, err)
			}
		}
	}
	flood("1,000 questions that the resolver does not answer, of one pod at once", func(t *testing.T) {
		s.liar.sayAll("silent.example.com.", func(dnsmessage.Message) []datagram { return nil })
		q := dnsQuery(t, "silent.example.com.")
		for range 1000 {
			conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{}, "udp", s.resolver)
			if err != nil {
				t.Fatal(err)
			}
			conn.Write(q)
			conn.Close()
		}
		goesOn(t, 20)
		if n := s.liar.times("silent.example.com."); n > 300 {
			t.Errorf("%d questions went to the server at once", n)
		}
	})
	flood("200 connections of one pod, which ask nothing", func(t *testing.T) {
		var open []net.Conn
		for range 200 {
			if conn, err := node.Dial(t.Context(), s.client.NS, net.Dialer{}, "tcp", s.resolver); err == nil {
				open = append(open, conn)
			}
		}
		if m, err := lookUp(t, s.other, "tcp", s.resolver, "free.example.org."); err != nil || len(m.Answers) != 1 {
			t.Errorf("another pod's lookup: %v, %v", m, err)
		}
		for _, conn := range open {
			conn.Close()
		}
	})
	flood("a name with 1,000 addresses, and 4,000 names, of one pod", func(t *testing.T) {
		many := func(i int) string { return fmt.Sprintf("198.18.%d.%d", i>>8&255, i&255) }
		var answers []dnsmessage.Resource
		for i := range 250 {
			answers = append(answers, addressOf("many.example.com.", many(i), 60))
		}
		s.told(t, "ready.example.com.") // the pod may still have as many questions open as it can
		for i := range 4 {
			for k := range answers {
				answers[k] = addressOf("many.example.com.", many(i*250+k), 60)
			}
			s.say("many.example.com.", slices.Clone(answers)...)
			lookUp(t, s.client, "tcp", s.resolver, "many.example.com.")
		}
		var next atomic.Int64
		var asking sync.WaitGroup
		for range 16 {
			asking.Go(func() {
				for i := next.Add(1); i <= 4000; i = next.Add(1) {
					if m, err := lookUp(t, s.client, "udp", s.resolver, fmt.Sprintf("n%d.example.com.", i)); err != nil || len(m.Answers) != 1 {
						t.Errorf("lookup %d: %v, %v", i, m, err)
						return
					}
				}
			})
		}
		asking.Wait()
		if learnt := s.metric(t, "septum_enforcer_learnt_addresses"); learnt > 2048+16 {
			t.Errorf("%v addresses were learnt", learnt)
		}
		s.say("two.example.com.", addressOf("two.example.com.", outsideOther, 60))
		if m, err := lookUp(t, s.other, "udp", s.resolver, "two.example.com."); err != nil || len(m.Answers) != 1 {
			t.Errorf("another pod's lookup: %v, %v", m, err)
		}
		if !reaches(t, s.other, outsideOther+":80") {
			t.Error("another pod learns nothing any more")
		}
	})
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
