package attack

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// TestOwnProxyBroken breaks Septum's own proxy, alone and with others, while pods ask it: what is
// denied reaches no server, what is allowed comes back, and a process that is stopped is
// replaced. Envoy goes on.
func TestOwnProxyBroken(t *testing.T) {
	n := node.New(t)
	client := n.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	at := n.AddPod("resolver", "10.244.1.3", policy.Labels{"k8s:app": "resolver"})
	broker := n.AddPod("broker", "10.244.1.4", policy.Labels{"k8s:app": "broker"})
	var r resolver
	r.serve(t, at)
	var stolen atomic.Int64
	sink(n.Listen(broker.NS, "[::]:9092"), &stolen)
	kafka := newPolicy("kafka", app("broker"))
	kafka.from("client", []policy.Port{{Protocol: policy.ProtocolTCP, Port: 9092}})
	kafka.spec.Ingress.Rules[0].L7 = &policy.Kafka{Rules: []policy.KafkaRule{{
		ID: policy.RuleID{Policy: kafka.ref, Path: "spec.ingress[0].kafka[0]"}, Topics: []policy.StringMatch{{Kind: policy.MatchExact, Value: "orders"}},
	}}}
	names := dnsPolicy()
	names.Specs[0].Egress.Rules = append(names.Specs[0].Egress.Rules, newPolicy("names", app("client")).to("broker", kafka.spec.Ingress.Rules[0].Ports).spec.Egress.Rules...)
	policies := []policy.Policy{names, kafka.policy()}
	n.Publish(policies...)
	l := &ownLoad{client: client, server: net.JoinHostPort(at.Addrs[0].String(), "53"), broker: net.JoinHostPort(broker.Addrs[0].String(), "9092")}
	l.answers(t)
	signal := func(pid int, s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name         string
		broken, mend func()
	}{
		{"killed", func() { signal(n.Own(), syscall.SIGKILL) }, func() {}},
		{"stopped", func() { signal(n.Own(), syscall.SIGSTOP) }, func() {}},
		{"killed, and the enforcer stopped", func() {
			n.Enforcer.Cmd.Process.Signal(syscall.SIGSTOP) //nolint:errcheck // it runs
			signal(n.Own(), syscall.SIGKILL)
		}, func() { n.Enforcer.Cmd.Process.Signal(syscall.SIGCONT) }}, //nolint:errcheck // as above
		{"stopped, and the enforcer and Envoy killed", func() {
			signal(n.Own(), syscall.SIGSTOP)
			n.Enforcer.Kill(syscall.SIGKILL)
			signal(n.Envoy(), syscall.SIGKILL)
		}, func() { n.StartEnforcer(); n.Publish(policies...) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			own := n.Own()
			stop := l.run(t)
			time.Sleep(200 * time.Millisecond)
			c.broken()
			time.Sleep(2 * time.Second)
			c.mend()
			l.answers(t)
			asked, failed := stop()
			t.Logf("%d allowed questions, %d of them without an answer", asked, failed)
			if now := n.Own(); now == own {
				t.Error("the same process still serves")
			}
			l.answers(t)
			if asked, failed := l.for1s(t); failed > 0 {
				t.Errorf("%d of %d questions have no answer after the proxy is back", failed, asked)
			}
		})
	}
	for _, name := range []string{"example.com.", "secret.evil.example."} {
		if r.saw(name) {
			t.Errorf("the server was asked for %s", name)
		}
	}
	if got := stolen.Load(); got != 0 {
		t.Errorf("%d bytes that are no Kafka reached the broker", got)
	}
	n.Launcher.Kill(syscall.SIGTERM)
	if log := n.Launcher.Log(); strings.Count(log, "it is stopped") != 2 {
		t.Error("the launcher has not found the stopped process twice")
	}
}

// sink counts what comes to a listener.
func sink(lis net.Listener, bytes *atomic.Int64) {
	go func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for b := make([]byte, 4096); ; {
					n, err := c.Read(b)
					bytes.Add(int64(n))
					if err != nil {
						return
					}
				}
			}()
		}
	}()
}

// ownLoad asks Septum's own proxy for what is allowed and for what is not.
type ownLoad struct {
	client         *node.Pod
	server, broker string
}

// answers waits until names are resolved again.
func (l *ownLoad) answers(t *testing.T) {
	t.Helper()
	for _, network := range []string{"udp", "tcp"} {
		var err error
		for end := time.Now().Add(40 * time.Second); ; {
			var m *dnsmessage.Message
			if m, err = lookUp(t, l.client, network, l.server, "ready.example.com."); err == nil && m.RCode == 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("no answer over %s: %v", network, err)
			}
		}
	}
}

// run begins the load; stop ends it and returns how many allowed questions there were, and how
// many of them had no answer.
func (l *ownLoad) run(t *testing.T) (stop func() (asked, failed int64)) {
	t.Helper()
	end := make(chan struct{})
	var wg sync.WaitGroup
	var asked, failed atomic.Int64
	loop := func(f func()) {
		wg.Go(func() {
			for {
				select {
				case <-end:
					return
				case <-time.After(5 * time.Millisecond):
					f()
				}
			}
		})
	}
	for _, network := range []string{"udp", "tcp"} {
		loop(func() {
			asked.Add(1)
			if m, err := lookUp(t, l.client, network, l.server, "www.example.com."); err != nil || m.RCode != 0 {
				failed.Add(1)
			}
		})
		for _, name := range []string{"example.com.", "secret.evil.example."} {
			loop(func() {
				if m, err := lookUp(t, l.client, network, l.server, name); err == nil && m.RCode != dnsmessage.RCodeRefused {
					t.Errorf("%s over %s was answered: %v", name, network, m)
				}
			})
		}
	}
	loop(func() {
		c, err := node.Dial(t.Context(), l.client.NS, net.Dialer{Timeout: time.Second}, "tcp", l.broker)
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(time.Second))
		c.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		c.Read(make([]byte, 1)) //nolint:errcheck // the server's own count says what came
	})
	return func() (int64, int64) {
		close(end)
		wg.Wait()
		return asked.Load(), failed.Load()
	}
}

func (l *ownLoad) for1s(t *testing.T) (asked, failed int64) {
	t.Helper()
	stop := l.run(t)
	time.Sleep(time.Second)
	return stop()
}
