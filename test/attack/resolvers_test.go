package attack

import (
	"fmt"
	"net"
	"os"
	"os/exec"
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

// nodeLocal is where a node-local cache listens: an address of the node that is link-local.
const nodeLocal = "169.254.20.10"

// corefile has a zone whose names say their addresses, one with many, and a cache.
const corefile = `.:53 {
    errors
    cache 30
    template IN A example.com {
        match ^n-(?P<a>\d+)-(?P<b>\d+)-(?P<c>\d+)-(?P<d>\d+)\.example\.com\.$
        answer "{{ .Name }} 30 IN A {{ .Group.a }}.{{ .Group.b }}.{{ .Group.c }}.{{ .Group.d }}"
        fallthrough
    }
    hosts {
        203.0.113.7 www.example.com
        2001:db8::7 www.example.com
        203.0.113.9 secret.evil.example
%s    }
}
`

// many are the addresses of large.example.com, more than fit a datagram.
func many() []string {
	var out []string
	for i := range 120 {
		out = append(out, fmt.Sprintf("198.51.100.%d", i+1))
	}
	return out
}

// resolverPolicy lets a pod look up names of example.com at the resolvers' pods and at the node's own, and connect to what they are.
func resolverPolicy(subject string) policy.Policy {
	b := newPolicy("resolvers-"+subject, app(subject))
	ports := []policy.Port{{Protocol: policy.ProtocolUDP, Port: 53}, {Protocol: policy.ProtocolTCP, Port: 53}}
	b.to("resolver", ports)
	rule := &b.spec.Egress.Rules[0]
	rule.Peers = append(rule.Peers, policy.Peer{Selector: &policy.Selector{Requirements: []policy.Requirement{{Key: "reserved:host", Operator: policy.Exists}}}})
	rule.L7 = &policy.DNS{Rules: []policy.DNSRule{{ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[0].dns[0]"}, Name: "*.example.com"}}}
	b.spec.Egress.Rules = append(b.spec.Egress.Rules, policy.Rule{ID: policy.RuleID{Policy: b.ref, Path: "spec.egress[1]"},
		Ports: tcp(80), Peers: []policy.Peer{{Name: "*.example.com"}}})
	return b.policy()
}

// TestResolvers looks names up at real servers: CoreDNS and dnsmasq in pods, and dnsmasq as the
// node's own cache before CoreDNS; and then 1,000 a second, of which none may be lost.
func TestResolvers(t *testing.T) {
	n := node.New(t)
	var clients []*node.Pod
	for i := range 4 {
		clients = append(clients, n.AddPod(fmt.Sprintf("client%d", i), fmt.Sprintf("10.244.1.%d", 20+i), policy.Labels{"k8s:app": "client"}))
	}
	core := n.AddPod("coredns", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	masq := n.AddPod("dnsmasq", "10.244.1.4", policy.Labels{"k8s:app": "resolver"})
	far := n.AddRemote("far", "10.244.2.2", nil)
	node.AddAddr(n, far.NS, "eth0", outside+"/32")
	n.Route(n.Host, far.HostVeth(), outside+"/32")
	go answerHTTP(n.Listen(far.NS, "0.0.0.0:80"))
	n.Host.Addr("lo", nodeLocal+"/32")

	var hosts strings.Builder
	dnsmasq := []string{"--port=53", "--address=/www.example.com/" + outside, "--address=/www.example.com/2001:db8::7"}
	for _, addr := range many() {
		fmt.Fprintf(&hosts, "        %s large.example.com\n", addr)
		dnsmasq = append(dnsmasq, "--host-record=large.example.com,"+addr)
	}
	n.CoreDNS(core.NS, fmt.Sprintf(corefile, hosts.String()))
	n.Dnsmasq(masq.NS, dnsmasq...)
	n.Dnsmasq(n.Host, "--listen-address="+nodeLocal, "--server="+core.Addrs[0].String(), "--cache-size=10000", "--dns-forward-max=1000")
	n.Publish(resolverPolicy("client"))

	for name, server := range map[string]string{
		"CoreDNS": core.Addrs[0].String(), "CoreDNS over IPv6": core.Addrs[1].String(), "dnsmasq": masq.Addrs[0].String(), "dnsmasq over IPv6": masq.Addrs[1].String(),
		"node-local cache": nodeLocal,
	} {
		t.Run(name, func(t *testing.T) { resolves(t, clients[0], net.JoinHostPort(server, "53")) })
	}
	if !reaches(t, clients[0], outside+":80") {
		t.Error("the address of www.example.com is closed")
	}
	t.Run("resolvers of programs", func(t *testing.T) { programsResolve(t, n, clients[0], core.Addrs[0].String()) })
	for name, server := range map[string]string{"CoreDNS": core.Addrs[0].String(), "node-local cache": nodeLocal} {
		t.Run("1,000 a second of "+name, func(t *testing.T) { thousandASecond(t, clients, net.JoinHostPort(server, "53")) })
	}
}

func resolves(t *testing.T, client *node.Pod, server string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if m, err := lookUp(t, client, "udp", server, "www.example.com."); err == nil && len(m.Answers) == 1 {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("%v, %v", m, err)
		}
	}
	for _, network := range []string{"udp", "tcp"} {
		for name, want := range map[string]struct {
			code    dnsmessage.RCode
			records int
		}{
			"wWw.eXample.com.": {0, 1}, "secret.evil.example.": {dnsmessage.RCodeRefused, 0}, "a.www.example.com.": {dnsmessage.RCodeRefused, 0},
		} {
			m, err := lookUp(t, client, network, server, name)
			if err != nil || m.RCode != want.code || len(m.Answers) != want.records || m.Questions[0].Name.String() != name {
				t.Errorf("%s over %s: %v, %v", name, network, m, err)
			}
		}
	}
	// What does not fit a datagram comes truncated, or whole to who takes that much; over TCP it is whole.
	if m, err := lookUp(t, client, "udp", server, "large.example.com."); err != nil || !m.Truncated && len(m.Answers) != len(many()) {
		t.Errorf("large, over UDP: %v", err)
	}
	if m, err := lookUp(t, client, "tcp", server, "large.example.com."); err != nil || len(m.Answers) != len(many()) {
		t.Errorf("large, over TCP: %v", err)
	}
}

// programsResolve has programs look names up as they do in a pod: by musl's resolver, by glibc's, and by Java's.
func programsResolve(t *testing.T, n *node.Node, client *node.Pod, server string) {
	t.Helper()
	musl, err := exec.Command("sh", "musl.sh").Output()
	if err != nil {
		t.Fatalf("build a program with musl: %v", err)
	}
	conf := n.Path("resolv.conf")
	text := "nameserver " + server + "\nsearch demo.svc.cluster.local svc.cluster.local\noptions ndots:5\n"
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil { //nolint:gosec // as in a pod
		t.Fatal(err)
	}
	for _, tt := range []struct{ program, name, want string }{
		{"musl", "www.example.com.", "connected"},
		{"musl", "secret.evil.example.", "no address"},
		{"musl", "www.example.com", "no address"}, // it stops at the REFUSED of its search list: docs/fqdn.md
		{"glibc", "www.example.com", "connected"},
		{"glibc", "secret.evil.example", "no address"},
		{"Java", "www.example.com", "connected"},
		{"Java", "secret.evil.example", "no address"},
	} {
		args := map[string][]string{
			"musl":  {strings.TrimSpace(string(musl))},
			"glibc": {"python3", "testdata/connect.py"},
			"Java":  {"java", "-Djava.net.preferIPv4Stack=true", "testdata/Connect.java"},
		}[tt.program]
		var out []byte
		client.Do(func() error {
			args := append([]string{"60", "unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf}, append(args, tt.name)...)
			out, _ = exec.CommandContext(t.Context(), "timeout", args...).CombinedOutput() //nolint:gosec // the programs above
			return nil
		})
		if !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("%s looks up %s: %q, want %q", tt.program, tt.name, out, tt.want)
		}
	}
}

// thousandASecond has four pods ask, each 250 times a second for names that are new half of the
// time. Each question is asked once, and must be answered.
func thousandASecond(t *testing.T, clients []*node.Pod, server string) {
	t.Helper()
	const each, every, workers = 1000, 4 * time.Millisecond, 32
	var answered, wrong atomic.Int64
	var all sync.WaitGroup
	begin := time.Now()
	for c, client := range clients {
		due := make(chan int, each)
		for range workers {
			all.Go(func() {
				for i := range due {
					octet := []int{198, 18 + c/2, c%2*128 + i/2/250, 1 + i/2%250}
					name := fmt.Sprintf("n-%d-%d-%d-%d.example.com.", octet[0], octet[1], octet[2], octet[3])
					m, err := lookUp(t, client, "udp", server, name)
					if err == nil && slices.ContainsFunc(m.Answers, func(r dnsmessage.Resource) bool {
						a, ok := r.Body.(*dnsmessage.AResource)
						return ok && fmt.Sprint(a.A) == fmt.Sprint(octet)
					}) {
						answered.Add(1)
					} else if wrong.Add(1) < 10 {
						t.Logf("%s: %v, %v", name, m, err)
					}
				}
			})
		}
		all.Go(func() {
			defer close(due)
			tick := time.NewTicker(every)
			defer tick.Stop()
			for i := range each {
				<-tick.C
				due <- i
			}
		})
	}
	all.Wait()
	t.Logf("%d answers in %v", answered.Load(), time.Since(begin).Round(time.Millisecond))
	if want := int64(len(clients) * each); answered.Load() != want {
		t.Errorf("%d questions of %d were answered", answered.Load(), want)
	}
}
