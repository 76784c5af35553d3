package kafka

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is a real Kafka broker on loopback. It tells clients of its second listener to come
// to the proxy's port.
type broker struct {
	dir string
	// direct is its own address, behind the one that the proxy goes to, proxied the proxy's.
	direct, behind, proxied string
	log                     bytes.Buffer
}

// tools is where the broker's programs and kcat are.
func tools(t testing.TB) string {
	t.Helper()
	cmd := exec.Command("sh", "testdata/broker.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("fetch the broker: %v", err)
	}
	return strings.TrimSpace(string(out))
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

// java are the options of a small virtual machine.
func java(dir string, args ...string) *exec.Cmd {
	return exec.Command("java", append([]string{"-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(dir, "libs", "*")}, args...)...)
}

func startBroker(t testing.TB) *broker {
	t.Helper()
	b := &broker{dir: tools(t), direct: freePort(t), behind: freePort(t), proxied: freePort(t)}
	control, data := freePort(t), t.TempDir()
	properties := filepath.Join(data, "server.properties")
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[1]s
listeners=PLAINTEXT://%[2]s,CONTROLLER://%[1]s,PROXIED://%[3]s
advertised.listeners=PLAINTEXT://%[2]s,PROXIED://%[4]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs=%[5]s/logs
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=true
num.partitions=1
`, control, b.direct, b.behind, b.proxied, data)
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	format := java(b.dir, "kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qk", "-c", properties)
	if out, err := format.CombinedOutput(); err != nil {
		t.Fatalf("format the broker's directory: %v\n%s", err, out)
	}
	run := java(b.dir, "kafka.Kafka", properties)
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
	libs, err := filepath.Glob(filepath.Join(b.dir, "usr/lib/*-linux-gnu"))
	if err != nil || len(libs) == 0 {
		t.Fatalf("kcat's libraries: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.dir, "usr/bin/kcat"), append([]string{"-b", addr}, args...)...)
	cmd.Env = []string{"LD_LIBRARY_PATH=" + libs[0]}
	cmd.Stdin = strings.NewReader(input)
	var out lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
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
