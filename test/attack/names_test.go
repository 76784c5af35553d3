package attack

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/enforcer/netns"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// The addresses outside of the cluster, behind an interface of the node.
const (
	outside      = "203.0.113.7"
	outsideOther = "203.0.113.8"
	outsideChain = "203.0.113.9"
	outsideFree  = "203.0.113.66"
	outsideLate  = "203.0.113.67"
)

// zone is a DNS server that says what the test wants of each name.
type zone struct {
	mu      sync.Mutex
	records map[string][]dnsmessage.Resource
}

func resource(name string, ttl uint32, body dnsmessage.ResourceBody) dnsmessage.Resource {
	return dnsmessage.Resource{
		Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(name), Class: dnsmessage.ClassINET, TTL: ttl}, Body: body,
	}
}

func addressOf(name, addr string, ttl uint32) dnsmessage.Resource {
	return resource(name, ttl, &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()})
}

func (z *zone) answer(q []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(q) != nil || len(m.Questions) != 1 {
		return nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	m.Response, m.Additionals = true, nil
	m.Answers = z.records[strings.ToLower(m.Questions[0].Name.String())]
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

func (z *zone) serve(t *testing.T, pod *node.Pod) {
	t.Helper()
	var udp net.PacketConn
	err := netns.Do(pod.File, func() (err error) {
		udp, err = net.ListenPacket("udp", ":53")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { udp.Close(); <-done })
	go func() {
		defer close(done)
		b := make([]byte, 65535)
		for {
			n, from, err := udp.ReadFrom(b)
			if err != nil {
				return
			}
			if a := z.answer(b[:n]); a != nil {
				udp.WriteTo(a, from)
			}
		}
	}()
}

// namesPolicy lets a pod ask the resolver for everything, and connect to what the names are.
func namesPolicy(subject string, patterns ...policy.NamePattern) policy.Policy {
	b := newPolicy("names-"+subject, app(subject))
	b.to("resolver", []policy.Port{{Protocol: policy.ProtocolUDP, Port: 53}, {Protocol: policy.ProtocolTCP, Port: 53}})
	b.spec.Egress.Rules[0].L7 = &policy.DNS{Rules: []policy.DNSRule{{ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[0].dns[0]"}, Name: "*"}}}
	r := policy.Rule{ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[1]"}, Ports: tcp(80)}
	for _, p := range patterns {
		r.Peers = append(r.Peers, policy.Peer{Name: p})
	}
	b.spec.Egress.Rules = append(b.spec.Egress.Rules, r)
	path := policy.RuleID{Policy: b.ref, Path: "spec.egress[2].http[0]"}
	l7 := getPublic()
	l7.ID = path
	b.spec.Egress.Rules = append(b.spec.Egress.Rules, policy.Rule{
		ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[2]"}, Ports: tcp(8080), Peers: r.Peers, L7: &policy.HTTP{Rules: []policy.HTTPRule{l7}},
	})
	return b.policy()
}

// reaches says whether a connection is made at once: the data path knows the address when the
// pod has the answer.
func reaches(t *testing.T, from *node.Pod, addr string) bool {
	t.Helper()
	conn, err := node.Dial(t.Context(), from.NS, net.Dialer{Timeout: 700 * time.Millisecond}, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	return err == nil
}

// TestNames has names looked up at a server that lies, through the whole node.
func TestNames(t *testing.T) {
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	at := n.AddPod("resolver", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	other := n.AddPod("other", "10.244.1.4", policy.Labels{"k8s:app": "other"})
	far := n.AddRemote("far", "10.244.2.2", nil)
	for _, addr := range []string{outside, outsideOther, outsideChain, outsideFree, outsideLate} {
		node.AddAddr(n, far.NS, "eth0", addr+"/32")
		n.Route(n.Host, far.HostVeth(), addr+"/32")
	}
	for _, port := range []string{"80", "8080"} {
		lis := n.Listen(far.NS, "0.0.0.0:"+port)
		go answerHTTP(lis)
	}
	z := &zone{records: map[string][]dnsmessage.Resource{
		"www.example.com.": {addressOf("www.example.com.", outside, 0)},
		"two.example.com.": {addressOf("two.example.com.", outsideOther, 300)},
		// An alias counts under the name asked; what stands beside it does not.
		"alias.example.com.": {
			resource("alias.example.com.", 60, &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("target.cdn.example.")}),
			addressOf("target.cdn.example.", outsideChain, 60),
			addressOf("victim.example.com.", outsideFree, 60),
		},
		"free.example.net.": {addressOf("free.example.net.", outsideFree, 60)},
		// The name leads into the cluster, to the node and to what must not be reached by it.
		"rebind.example.com.": {
			addressOf("rebind.example.com.", "10.244.1.4", 60), addressOf("rebind.example.com.", node.Addr, 60),
			addressOf("rebind.example.com.", "127.0.0.1", 60), addressOf("rebind.example.com.", "169.254.169.254", 60),
		},
	}}
	z.serve(t, at)
	n.Listen(other.NS, "0.0.0.0:80")
	n.Publish(namesPolicy("client", "*.example.com"), namesPolicy("other", "www.example.com"))
	resolver := net.JoinHostPort(at.Addrs[0].String(), "53")
	ask := func(from *node.Pod, name string, records int) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; {
			m, err := lookUp(t, from, "udp", resolver, name)
			if err == nil && len(m.Answers) == records {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %v, %v", name, m, err)
			}
		}
	}
	open := func(from *node.Pod, addr string, want bool) {
		t.Helper()
		if got := reaches(t, from, addr); got != want {
			t.Errorf("%s to %s: connected %v, want %v", from.Name, addr, got, want)
		}
	}
	open(client, outside+":80", false)
	ask(client, "wWw.exaMple.com.", 1)
	open(client, outside+":80", true)
	open(client, outside+":443", false)
	open(other, outside+":80", false) // it has not asked for the name itself
	ask(other, "www.example.com.", 1)
	open(other, outside+":80", true)
	ask(other, "two.example.com.", 1)
	open(other, outsideOther+":80", false)
	ask(client, "two.example.com.", 1)
	open(client, outsideOther+":80", true)
	ask(client, "alias.example.com.", 3)
	open(client, outsideChain+":80", true)
	ask(client, "free.example.net.", 1)
	open(client, outsideFree+":80", false)
	ask(client, "rebind.example.com.", 4)
	for _, addr := range []string{"10.244.1.4:80", node.Addr + ":9965"} {
		open(client, addr, false)
	}
	// Layer 7 rules hold for what has been learnt.
	for path, want := range map[string]string{"/public": "HTTP/1.1 200", "/secret": "HTTP/1.1 403"} {
		if got := getFrom(t, client, outside+":8080", path); !strings.HasPrefix(got, want) {
			t.Errorf("GET %s: %q, want %q", path, got, want)
		}
	}
	lookUpsThroughProxyRestart(t, n, z, client, resolver)
	namesThroughRestart(t, n, client, other)
}

// namesThroughRestart: what has been learnt holds while the enforcer is away and after it is
// back, and what is asked for meanwhile is learnt then.
func namesThroughRestart(t *testing.T, n *node.Node, client, other *node.Pod) {
	t.Helper()
	n.Enforcer.Kill(syscall.SIGKILL)
	if !reaches(t, client, outside+":80") {
		t.Error("a name's address is closed while the enforcer is away")
	}
	n.StartEnforcer()
	n.Publish(namesPolicy("client", "*.example.com"), namesPolicy("other", "www.example.com"))
	for pod, addrs := range map[*node.Pod][]string{client: {outside, outsideOther, outsideChain}, other: {outside}} {
		for _, addr := range addrs {
			if !reaches(t, pod, addr+":80") {
				t.Errorf("%s to %s is closed after the enforcer's restart", pod.Name, addr)
			}
		}
	}
	if reaches(t, other, outsideOther+":80") {
		t.Error("the restart opened what the pod's policy does not name")
	}
	// Without the rule, the addresses are closed.
	n.Publish(namesPolicy("client", "two.example.com"))
	if reaches(t, client, outside+":80") || !reaches(t, client, outsideOther+":80") {
		t.Error("a policy with fewer names does not hold for what had been learnt")
	}
}

// answerHTTP answers each connection's first request.
func answerHTTP(lis net.Listener) {
	for {
		c, err := lis.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			b := make([]byte, 4096)
			n, err := c.Read(b)
			if err == nil && bytes.HasPrefix(b[:n], []byte("GET ")) {
				c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
			}
		}()
	}
}

func getFrom(t *testing.T, from *node.Pod, addr, path string) string {
	t.Helper()
	conn, err := node.Dial(t.Context(), from.NS, net.Dialer{}, "tcp", addr)
	if err != nil {
		return err.Error()
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	_, err = conn.Write([]byte("GET " + path + " HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n"))
	b := make([]byte, 4096)
	m, readErr := conn.Read(b)
	if err := errors.Join(err, readErr); err != nil {
		return err.Error()
	}
	return string(b[:m])
}
