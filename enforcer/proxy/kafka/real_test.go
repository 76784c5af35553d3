package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/septum-dev/septum/enforcer/proxy"
	"github.com/septum-dev/septum/policy"
)

// through runs a Handler at an address in front of another, with rules that can be changed.
type through struct {
	class atomic.Pointer[policy.Class]
	mu    sync.Mutex
	seen  []policy.Event
	conns map[net.Conn]bool
}

func newThrough(t testing.TB, at, to string, rules ...policy.KafkaRule) *through {
	t.Helper()
	p := &through{conns: map[net.Conn]bool{}}
	p.rules(rules...)
	h := New(func(e policy.Event) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.seen = append(p.seen, e)
	})
	l, err := net.Listen("tcp4", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer client.Close()
				h.Serve(ctx, &proxy.Conn{
					Client: client, Src: client.RemoteAddr().(*net.TCPAddr).AddrPort(), Dst: netip.MustParseAddrPort(to),
					Class: p.class.Load,
					Dial:  func(ctx context.Context) (net.Conn, error) { return (&net.Dialer{}).DialContext(ctx, "tcp4", to) },
				})
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
	return p
}

func (p *through) rules(rules ...policy.KafkaRule) {
	p.class.Store(&policy.Class{ID: "c", Kind: policy.KindKafka, Kafka: rules})
}

// events are those of a topic since the last call, by key and verdict.
func (p *through) events(topic string) map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[string]int{}
	for _, e := range p.seen {
		if e.Kafka.Topic == topic {
			out[fmt.Sprint(e.Kafka.Key, " ", e.Verdict)]++
		}
	}
	p.seen = nil
	return out
}

func roles(topic string, roles ...policy.KafkaRole) policy.KafkaRule {
	r := policy.KafkaRule{Topics: []policy.StringMatch{{Kind: policy.MatchExact, Value: topic}}}
	for _, role := range roles {
		r.Keys = append(r.Keys, role.Keys()...)
	}
	return r
}

func soon(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestBroker has real clients work with an allowed and a denied topic of a real broker.
func TestBroker(t *testing.T) {
	b := startBroker(t)
	admin := kadm.NewClient(b.client(t, b.direct))
	for _, topic := range []string{"orders", "secret", "other"} {
		if _, err := admin.CreateTopic(soon(t), 1, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	direct := b.client(t, b.direct)
	for i := range 3 {
		for _, topic := range []string{"orders", "secret", "other"} {
			if err := direct.ProduceSync(soon(t), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%s-%d", topic, i)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p := newThrough(t, b.proxied, b.behind, roles("orders", policy.RoleProduce, policy.RoleConsume))
	t.Run("kcat", func(t *testing.T) { testKcat(t, b) })
	t.Run("franz", func(t *testing.T) { testFranz(t, b, p) })
	withSASL := newThrough(t, b.proxiedSASL, b.withSASL)
	withSASL.class.Store(p.class.Load())
	t.Run("Java", func(t *testing.T) { testJava(t, b, p) })
	t.Run("confluent", func(t *testing.T) { testConfluent(t, b, p) })
	t.Run("rest", func(t *testing.T) { testRest(t, b, p) })
	t.Run("change", func(t *testing.T) { testChange(t, b, p) })
	t.Run("sequence", func(t *testing.T) { testSequence(t, b, p) })
}

func testKcat(t *testing.T, b *broker) {
	list := b.kcat(t, b.proxied, "", "-L", "-m", "5")
	if !strings.Contains(list, `"orders"`) || strings.Contains(list, "secret") || strings.Contains(list, "__") {
		t.Errorf("the list of topics: %s", list)
	}
	if out := b.kcat(t, b.proxied, "one\n", "-P", "-t", "orders"); !strings.Contains(out, "<nil>") {
		t.Errorf("produce: %s", out)
	}
	if out := b.kcat(t, b.proxied, "", "-C", "-t", "orders", "-e", "-o", "beginning"); !strings.Contains(out, "orders-0") || !strings.Contains(out, "one\n") {
		t.Errorf("consume: %s", out)
	}
	for _, args := range [][]string{{"-P", "-t", "secret"}, {"-C", "-t", "secret", "-e", "-o", "beginning"}, {"-P", "-t", "never"}} {
		if out := b.kcat(t, b.proxied, "one\n", args...); !strings.Contains(out, "authorization") || strings.Contains(out, "secret-") {
			t.Errorf("%q: %s", args, out)
		}
	}
	if out := b.kcat(t, b.direct, "", "-L"); strings.Contains(out, "never") {
		t.Errorf("a topic that is denied was created: %s", out)
	}
	if out := b.kcat(t, b.proxied, "", "-G", "kcats", "-e", "-o", "beginning", "orders"); !strings.Contains(out, "orders-0") {
		t.Errorf("group: %s", out)
	}
}

func testFranz(t *testing.T, b *broker, p *through) {
	c := b.client(t, b.proxied, kgo.RecordRetries(3))
	if err := c.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Value: []byte("franz")}).FirstErr(); err != nil {
		t.Errorf("produce: %v", err)
	}
	if err := c.ProduceSync(soon(t), &kgo.Record{Topic: "secret", Value: []byte("franz")}).FirstErr(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("produce to a denied topic: %v", err)
	}
	for name, opts := range map[string][]kgo.Opt{
		"partitions": nil,
		"group":      {kgo.ConsumerGroup("classic")},
		"group 848":  {kgo.ConsumerGroup("modern"), kgo.WithContext(context.WithValue(context.Background(), "opt_in_kafka_next_gen_balancer_beta", true))}, //nolint:revive,staticcheck // the library's own key
	} {
		t.Run(name, func(t *testing.T) {
			p.events("")
			c := b.client(t, b.proxied, append(opts, kgo.ConsumeTopics("orders"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
			var got []string
			for len(got) < 5 {
				fetches := c.PollFetches(soon(t))
				if err := fetches.Err(); err != nil {
					t.Fatalf("after %q: %v", got, err)
				}
				fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
			}
			if !slices.Contains(got, "orders-0") || !slices.Contains(got, "franz") {
				t.Errorf("consumed %q", got)
			}
			if opts != nil {
				if err := c.CommitUncommittedOffsets(soon(t)); err != nil {
					t.Errorf("commit: %v", err)
				}
			}
		})
	}
	t.Run("denied", func(t *testing.T) {
		c := b.client(t, b.proxied, kgo.ConsumeTopics("secret"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err := c.PollFetches(soon(t)).Err(); !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("consume: %v", err)
		}
	})
	t.Run("transaction", func(t *testing.T) {
		c := b.client(t, b.proxied, kgo.TransactionalID("txn"))
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := c.ProduceSync(soon(t), &kgo.Record{Topic: "orders", Value: []byte("txn")}).FirstErr(); err != nil {
			t.Errorf("produce: %v", err)
		}
		if err := c.EndTransaction(soon(t), kgo.TryCommit); err != nil {
			t.Errorf("commit: %v", err)
		}
	})
}

// A rule that changes acts on the next request of clients that are at work, and nothing loops.
func testChange(t *testing.T, b *broker, p *through) {
	both := []policy.KafkaRule{roles("orders", policy.RoleProduce, policy.RoleConsume), roles("other", policy.RoleProduce, policy.RoleConsume)}
	p.rules(both...)
	producer := b.client(t, b.proxied, kgo.RecordRetries(3))
	consumer := b.client(t, b.proxied, kgo.ConsumeTopics("orders", "other"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	send := func(topic string) error {
		return producer.ProduceSync(soon(t), &kgo.Record{Topic: topic, Value: []byte("more")}).FirstErr()
	}
	seen := map[string]int{}
	for seen["orders"] < 3 || seen["other"] < 3 {
		f := consumer.PollFetches(soon(t))
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) { seen[r.Topic]++ })
	}
	if err := errors.Join(send("orders"), send("other")); err != nil {
		t.Fatal(err)
	}
	p.rules(both[0])
	if err := send("other"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("produce to a topic that is denied now: %v", err)
	}
	if err := send("orders"); err != nil {
		t.Errorf("produce to a topic that stays allowed: %v", err)
	}
	var err error
	for deadline := time.Now().Add(10 * time.Second); err == nil && time.Now().Before(deadline); {
		err = consumer.PollFetches(soon(t)).Err()
	}
	if !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("consume a topic that is denied now: %v", err)
	}
	p.events("other")
	time.Sleep(2 * time.Second)
	n := 0
	for _, count := range p.events("other") {
		n += count
	}
	if n > 200 {
		t.Errorf("%d requests for a denied topic in 2 s", n)
	}
	p.rules(both...)
	if err := send("other"); err != nil {
		t.Errorf("produce to a topic that is allowed again: %v", err)
	}
}
