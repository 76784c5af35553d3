package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/septum-dev/septum/policy"
)

// bounded holds that a client asks for a denied topic a few times, and not on and on.
func (p *through) bounded(t *testing.T, topic string, most int) {
	t.Helper()
	n := 0
	events := p.events(topic)
	for _, count := range events {
		n += count
	}
	if n == 0 || n > most {
		t.Errorf("%d requests for the denied topic, want 1 to %d: %v", n, most, events)
	}
}

// run runs a client to its end and returns what it says.
func run(t *testing.T, input string, env []string, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env, cmd.Stdin, cmd.WaitDelay = append(os.Environ(), env...), strings.NewReader(input), time.Second
	out, err := cmd.CombinedOutput()
	return fmt.Sprint(string(out), " ", err)
}

// confluent is the variable by which Python finds librdkafka; the first time it is fetched.
func confluent(t *testing.T) string {
	t.Helper()
	fetch := exec.Command("sh", "testdata/confluent.sh")
	fetch.Stderr = os.Stderr
	dir, err := fetch.Output()
	if err != nil {
		t.Fatalf("fetch confluent-kafka: %v", err)
	}
	return "PYTHONPATH=" + strings.TrimSpace(string(dir))
}

// testConfluent has librdkafka do everything, in Python.
func testConfluent(t *testing.T, b *broker, p *through) {
	env := []string{confluent(t)}
	const denied = "TOPIC_AUTHORIZATION_FAILED"
	want := ""
	for _, step := range []string{"produce", "idempotent"} {
		for _, topic := range []string{"orders", "secret", "orders", "secret", "orders"} {
			want += fmt.Sprintln(step, topic+":", map[string]string{"orders": "ok", "secret": denied}[topic])
		}
	}
	for _, kind := range []string{"classic", "consumer"} {
		want += fmt.Sprintf("group %s orders: ok\ngroup %[1]s secret: %s\n", kind, denied)
	}
	want += "transaction orders: ok\ntransaction secret: " + denied + "\ntransaction orders: ok\n"
	want += "list: orders\ncreate: " + denied + "\ndescribe: ok\ndelete: " + denied + "\n"
	want += "group: GROUP_AUTHORIZATION_FAILED\nacl: CLUSTER_AUTHORIZATION_FAILED\n"
	for how, addr := range map[string]string{"plain": b.proxied, "sasl": b.proxiedSASL} {
		p.events("")
		var steps strings.Builder
		got := run(t, "", env, "python3", "testdata/confluent.py", addr, how)
		for line := range strings.Lines(got) {
			if !strings.HasPrefix(line, "%") && !strings.HasPrefix(line, " <nil>") {
				steps.WriteString(line)
			}
		}
		if steps.String() != want {
			t.Errorf("%s:\n%s\nwant:\n%s", how, got, want)
		}
		if how == "plain" {
			p.bounded(t, "secret", 60)
		}
	}
	was := p.class.Load()
	defer p.class.Store(was)
	p.rules(policy.KafkaRule{})
	got := run(t, "", env, "python3", "testdata/confluent.py", b.proxied, "admin")
	for _, want := range []string{"secret", "create: ok\n", "delete: ok\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("admin, with everything allowed: no %q in %s", want, got)
		}
	}
}

// testJava has Kafka's own tools do everything.
func testJava(t *testing.T, b *broker, p *through) {
	const denied = "Not authorized to access topics: [secret]"
	login := filepath.Join(t.TempDir(), "login")
	if err := os.WriteFile(login, []byte("security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"+
		"sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"alice\" password=\"alices\";\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const producer, consumer = "org.apache.kafka.tools.ConsoleProducer", "org.apache.kafka.tools.consumer.ConsoleConsumer"
	const topics = "org.apache.kafka.tools.TopicCommand"
	perf := []string{"org.apache.kafka.tools.ProducerPerformance", "--num-records", "20", "--record-size", "100", "--throughput", "-1",
		"--transactional-id", "java", "--transaction-duration-ms", "100", "--producer-props", "max.block.ms=8000", "delivery.timeout.ms=8000", "request.timeout.ms=4000", "linger.ms=0"}
	read := []string{"--from-beginning", "--max-messages", "1", "--timeout-ms", "12000"}
	for _, c := range []struct {
		name, want, addr string
		args             []string
		all              bool
	}{
		{name: "produce orders", want: "<nil>", args: []string{producer, "--topic", "orders"}},
		{name: "produce secret", want: denied, args: []string{producer, "--topic", "secret"}},
		{name: "produce orders with SASL", want: "<nil>", addr: b.proxiedSASL, args: []string{producer, "--topic", "orders", "--producer.config", login}},
		{name: "produce secret with SASL", want: denied, addr: b.proxiedSASL, args: []string{producer, "--topic", "secret", "--producer.config", login}},
		{name: "group classic orders", want: "orders-0", args: append([]string{consumer, "--topic", "orders", "--group", "java-classic"}, read...)},
		{name: "group classic secret", want: denied, args: append([]string{consumer, "--topic", "secret", "--group", "java-classic-2"}, read...)},
		{name: "group consumer orders", want: "orders-0", args: append([]string{consumer, "--topic", "orders", "--group", "java-consumer", "--consumer-property", "group.protocol=consumer"}, read...)},
		{name: "group consumer secret", want: "TopicAuthorizationException", args: append([]string{consumer, "--topic", "secret", "--group", "java-consumer-2", "--consumer-property", "group.protocol=consumer"}, read...)},
		{name: "transactions orders", want: "20 records sent", args: append([]string{perf[0], "--topic", "orders"}, perf[1:]...)},
		{name: "transactions secret", want: denied, args: append([]string{perf[0], "--topic", "secret"}, perf[1:]...)},
		{name: "create denied", want: "TopicAuthorizationException", args: []string{topics, "--create", "--topic", "made"}},
		{name: "create", want: "Created topic made", all: true, args: []string{topics, "--create", "--topic", "made"}},
		{name: "describe", want: "PartitionCount: 1", all: true, args: []string{topics, "--describe", "--topic", "made"}},
		{name: "delete", want: "<nil>", all: true, args: []string{topics, "--delete", "--topic", "made"}},
		{name: "groups", want: "GroupAuthorizationException", args: []string{"org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", "--describe", "--group", "java-classic"}},
		{name: "acls", want: "ClusterAuthorizationException", args: []string{"org.apache.kafka.tools.AclCommand", "--add", "--allow-principal", "User:x", "--operation", "Read", "--topic", "orders"}},
		{name: "list", want: "orders\n <nil>", args: []string{topics, "--list", "--exclude-internal"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := p.class.Load()
			defer p.class.Store(was)
			if c.all {
				p.rules(policy.KafkaRule{})
			}
			p.events("")
			option := []string{"--bootstrap-server", b.proxied}
			if c.addr != "" {
				option[1] = c.addr
			}
			if c.args[0] == perf[0] {
				option = []string{"bootstrap.servers=" + b.proxied} // the last option's list goes on
			}
			got := run(t, "java\n", nil, "java", b.Java(append(c.args, option...)...)...)
			if !strings.Contains(got, c.want) || strings.Contains(got, "secret-0") {
				t.Errorf("no %q in %s", c.want, got)
			}
			if strings.HasSuffix(c.name, "secret") {
				p.bounded(t, "secret", 20)
			}
		})
	}
}

// testRest is what is the same for every client: SASL, acks=0, Audit, TLS, administration.
func testRest(t *testing.T, b *broker, p *through) {
	login := kgo.SASL(plain.Auth{User: "alice", Pass: "alices"}.AsMechanism())
	if err := b.client(t, b.proxiedSASL, login).ProduceSync(soon(t), &kgo.Record{Topic: "orders", Value: []byte("sasl")}).FirstErr(); err != nil {
		t.Errorf("franz with SASL: %v", err)
	}
	sasl := []string{"-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=PLAIN", "-X", "sasl.username=alice", "-X", "sasl.password=alices"}
	if out := b.kcat(t, b.proxiedSASL, "sasl\n", append(sasl, "-P", "-t", "orders")...); !strings.Contains(out, "<nil>") {
		t.Errorf("kcat with SASL: %s", out)
	}
	if out := b.kcat(t, b.proxiedSASL, "sasl\n", append(sasl, "-P", "-t", "secret")...); !strings.Contains(out, "authorization") {
		t.Errorf("kcat with SASL, a denied topic: %s", out)
	}

	direct := kadm.NewClient(b.client(t, b.direct))
	end := func(topic string) int64 {
		offsets, err := direct.ListEndOffsets(soon(t), topic)
		if err != nil {
			t.Fatal(err)
		}
		o, _ := offsets.Lookup(topic, 0)
		return o.Offset
	}
	secret, orders := end("secret"), end("orders")
	for _, topic := range []string{"secret", "orders"} {
		// Without an answer a client cannot know: what is denied is dropped.
		b.kcat(t, b.proxied, "acks\n", "-P", "-t", topic, "-X", "acks=0")
	}
	for deadline := time.Now().Add(10 * time.Second); end("orders") == orders && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	if end("orders") != orders+1 || end("secret") != secret {
		t.Errorf("with acks=0: %d records for orders and %d for secret, want 1 and 0", end("orders")-orders, end("secret")-secret)
	}

	p.events("")
	conn, err := tls.Dial("tcp4", b.proxied, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // it must not come to that
	if err == nil {
		conn.Close()
		t.Error("TLS was let through")
	}
	p.mu.Lock()
	if len(p.seen) != 1 || !strings.Contains(p.seen[0].DropReason, "TLS") {
		t.Errorf("events of a TLS connection: %+v", p.seen)
	}
	p.mu.Unlock()

	admin := kadm.NewClient(b.client(t, b.proxied))
	if _, err := admin.CreateTopic(soon(t), 1, 1, nil, "franz-made"); err == nil || !strings.Contains(err.Error(), "AUTHORIZATION") {
		t.Errorf("create a topic: %v", err)
	}
	was := p.class.Load()
	defer p.class.Store(was)
	p.rules(policy.KafkaRule{})
	if _, err := admin.CreateTopic(soon(t), 1, 1, nil, "franz-made"); err != nil {
		t.Errorf("create a topic, with everything allowed: %v", err)
	}
	if topics, err := admin.ListTopics(soon(t), "franz-made"); err != nil || !topics.Has("franz-made") {
		t.Errorf("describe a topic: %v, %v", topics, err)
	}
	if _, err := admin.DeleteTopic(soon(t), "franz-made"); err != nil {
		t.Errorf("delete a topic, with everything allowed: %v", err)
	}

	audit := *was
	audit.Audit = true
	p.class.Store(&audit)
	p.events("")
	if out := b.kcat(t, b.proxied, "audit\n", "-P", "-t", "secret"); !strings.Contains(out, "<nil>") || end("secret") != secret+1 {
		t.Errorf("in Audit mode: %s", out)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	audited := 0
	for _, e := range p.seen {
		if e.Kafka.Topic == "secret" && e.Verdict == policy.Audited {
			audited++
		}
	}
	if audited == 0 {
		t.Error("Audit mode reports nothing")
	}
}
