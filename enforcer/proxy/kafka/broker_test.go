package kafka

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
)

// broker is a real Kafka broker on loopback. It tells clients of its second listener to come
// to the proxy's port.
type broker struct {
	kafkatest.Tools
	// direct is its own address, behind the one that the proxy goes to, proxied the proxy's.
	direct, behind, proxied string
	// withSASL and proxiedSASL are these two with SASL/PLAIN.
	withSASL, proxiedSASL string
	log                   bytes.Buffer
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{Tools: kafkatest.Fetch(t), direct: freePort(t), behind: freePort(t), proxied: freePort(t), withSASL: freePort(t), proxiedSASL: freePort(t)}
	run := exec.Command("java", b.Format(t, t.TempDir(), freePort(t), kafkatest.Listener{Name: "PLAINTEXT", Addr: b.direct},
		kafkatest.Listener{Name: "PROXIED", Addr: b.behind, Advertised: b.proxied},
		kafkatest.Listener{Name: "SASL", Addr: b.withSASL, Advertised: b.proxiedSASL, User: "alice", Password: "alices"})...)
	run.Stdout, run.Stderr = &b.log, &b.log
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	run.WaitDelay = time.Second
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		run.Process.Kill()
		run.Wait() // it is killed
		if t.Failed() {
			t.Logf("the broker's log:\n%s", b.log.String())
		}
	})
	admin := kadm.NewClient(b.client(t, b.direct))
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err := admin.BrokerMetadata(ctx)
		cancel()
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not answer: %v", err)
		}
	}
	return b
}

// client is a franz-go client at an address.
func (b *broker) client(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.ClientID("franz")}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// kcat runs kcat against an address, with input, and returns what it says.
func (b *broker) kcat(t *testing.T, addr, input string, args ...string) string {
	t.Helper()
	program, env := b.Kcat(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"-b", addr}, args...)...)
	cmd.Env = env
	cmd.Stdin = strings.NewReader(input)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if ctx.Err() != nil {
		return "timeout: " + out.String()
	}
	return fmt.Sprint(out.String(), " ", err)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
