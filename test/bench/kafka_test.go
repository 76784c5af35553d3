package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// The broker's two ports: one with a rule without layer 7, and one with rules on Kafka.
const (
	kafkaBroker  = "10.244.1.3"
	kafkaDirect  = kafkaBroker + ":9094"
	kafkaPoliced = kafkaBroker + ":9092"
	kafkaTopic   = "records"
)

// recordSize is how long a record is, in bytes.
const recordSize = 1024

// kafkaBench is a node with a broker and a client.
type kafkaBench struct {
	*node.Node
	client *node.Pod
	record []byte
	// broker is the broker's process, proxies are the node's own.
	broker  int
	proxies []int
}

// pass is what came of some records: how many a second, how long each request took, and the
// processor time of client, broker and proxy for a record.
type pass struct {
	rate  float64
	times []time.Duration
	cpu   float64
}

// mostApart is how far, in percent, direct may be from itself. More is no measurement.
const mostApart = 5

// TestKafka measures a broker's two ports side by side: in many short rounds, each in the other
// order than the one before, so that what else the machine does is shared by all.
func TestKafka(t *testing.T) {
	records, runs := 4_000, 1
	if *full {
		records, runs = 40_000, 40
	}
	b := newKafkaBench(t)
	arms := []string{kafkaDirect, kafkaPoliced, "again"}
	measured := map[string][]pass{}
	for run := range runs + 1 {
		for _, arm := range arms {
			addr := strings.Replace(arm, "again", kafkaDirect, 1)
			begin := b.cpu(t)
			produced := b.produce(t, addr, records)
			between := b.cpu(t)
			consumed := b.consume(t, addr, records)
			produced.cpu, consumed.cpu = (between-begin)/float64(records), (b.cpu(t)-between)/float64(records)
			if run > 0 { // the first is the broker's to get warm
				measured["produce "+arm] = append(measured["produce "+arm], produced)
				measured["fetch "+arm] = append(measured["fetch "+arm], consumed)
			}
		}
		slices.Reverse(arms)
	}
	b.denied(t)
	var out bench
	for _, what := range []string{"produce", "fetch"} {
		out.kafka(what, measured[what+" "+kafkaDirect], measured[what+" "+kafkaPoliced], measured[what+" again"])
	}
	t.Logf("\n%s", out.table())
	if *update {
		write(t, "kafka", out.table())
	}
}

// kafka adds the lines of one kind of requests.
func (b *bench) kafka(what string, direct, policed, again []pass) {
	for _, m := range []struct {
		what, target, unit string
		of                 func(pass) float64
		scale              float64
	}{
		{"records a second", "≥ 0.7", "MB/s", func(p pass) float64 { return p.rate }, recordSize / 1e6},
		{"processor time for a record, of client, broker and proxy", "", "µs", func(p pass) float64 { return p.cpu }, 1e6},
		{"p99 of a request", "", "ms", func(p pass) float64 { return float64(quantile(p.times, 0.99)) }, 1 / float64(time.Millisecond)},
	} {
		value := func(of []pass) func(int) float64 { return func(i int) float64 { return m.of(of[i]) } }
		var all []float64
		for _, p := range direct {
			all = append(all, m.of(p)*m.scale)
		}
		b.add(what, what+": "+m.what+" ÷ direct", ratios(len(direct), value(policed), value(direct)), m.target, fmt.Sprintf("direct: %.1f %s", median(all), m.unit))
		same := ratios(len(direct), value(again), value(direct))
		target := ""
		if m.unit != "ms" { // the longest request of a few hundred is chance
			target = "0.95–1.05"
			b.controls = append(b.controls, control{what + ", " + m.what + ", beside itself", same, mostApart})
		}
		b.add(what, what+": "+m.what+", direct ÷ direct (A/A)", same, target, "")
	}
}

// cpu is the processor time, in seconds, that client, broker and proxy have used.
func (b *kafkaBench) cpu(t *testing.T) float64 {
	t.Helper()
	total := cpu(t, os.Getpid()) + cpu(t, b.broker)
	for _, pid := range b.proxies {
		total += cpu(t, pid)
	}
	return total
}

// ratios is the median of a run's ratio.
func ratios(runs int, a, b func(int) float64) interval {
	return bootstrap(runs, func(indexes []int) float64 {
		var all []float64
		for _, i := range indexes {
			all = append(all, a(i)/b(i))
		}
		return median(all)
	})
}

func newKafkaBench(t *testing.T) *kafkaBench {
	t.Helper()
	tools := kafkatest.Fetch(t)
	b := &kafkaBench{Node: node.New(t), record: make([]byte, recordSize)}
	random := rand.NewChaCha8([32]byte{1})
	random.Read(b.record) //nolint:errcheck // it never fails
	b.client = b.AddPod("client", "10.244.1.2", policy.Labels{"k8s:app": "client"})
	broker := b.AddPod("broker", kafkaBroker, policy.Labels{"k8s:app": "broker"})
	args := tools.Format(t, t.TempDir(), "127.0.0.1:9093", kafkatest.Listener{Name: "DIRECT", Addr: kafkaDirect},
		kafkatest.Listener{Name: "POLICED", Addr: kafkaPoliced})
	// The broker gets its full compiler, so that it is not what is waited for.
	args = slices.DeleteFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "-XX:TieredStop") })
	b.broker = b.Start(broker.NS, "java", append([]string{"-Xmx1g"}, args[1:]...)...).Cmd.Process.Pid
	b.Publish(kafkaPolicy())
	b.proxies = (&bench{Node: b.Node}).processes(t, "launcher/septum-proxy")
	admin := kadm.NewClient(b.open(t, kafkaDirect))
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err := admin.CreateTopic(ctx, 3, 1, nil, kafkaTopic)
		cancel()
		if err == nil {
			return b
		}
		if time.Now().After(deadline) {
			t.Fatalf("the broker does not answer: %v", err)
		}
	}
}

// kafkaPolicy lets everybody reach both ports, and on the policed one the topic.
func kafkaPolicy() policy.Policy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: "kafka"}
	rule := func(i int, port uint16, l7 policy.L7) policy.Rule {
		return policy.Rule{ID: policy.RuleID{Policy: ref, Path: fmt.Sprintf("spec.ingress[%d]", i)}, AnyPeer: true,
			Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: port}}, L7: l7}
	}
	return policy.Policy{Ref: ref, UID: "kafka", Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app("broker"), Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{
			rule(0, 9094, nil),
			rule(1, 9092, &policy.Kafka{Rules: []policy.KafkaRule{{
				ID:     policy.RuleID{Policy: ref, Path: "spec.ingress[1].kafka[0]"},
				Topics: []policy.StringMatch{{Kind: policy.MatchExact, Value: kafkaTopic}},
			}}}),
		}},
	}}}
}

// open is a client in the client's pod.
func (b *kafkaBench) open(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(addr), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.RecordRetries(3),
		kgo.Dialer(func(ctx context.Context, network, addr string) (net.Conn, error) {
			return node.Dial(ctx, b.client.NS, net.Dialer{}, network, addr)
		}),
	}, opts...)...)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

// requestTimes keeps how long the requests of one key took, from the first byte to the last.
type requestTimes struct {
	key int16
	mu  sync.Mutex
	all []time.Duration
}

func (r *requestTimes) OnBrokerE2E(_ kgo.BrokerMetadata, key int16, e kgo.BrokerE2E) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key == r.key && e.Err() == nil {
		r.all = append(r.all, e.DurationE2E())
	}
}

// produce sends records as fast as they are taken.
func (b *kafkaBench) produce(t *testing.T, addr string, records int) pass {
	t.Helper()
	times := &requestTimes{key: 0}
	c := b.open(t, addr, kgo.WithHooks(times), kgo.DefaultProduceTopic(kafkaTopic))
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, c.ProduceSync(ctx, &kgo.Record{Value: b.record}).FirstErr())
	var first kgo.FirstErrPromise
	begin := time.Now()
	for range records {
		c.Produce(ctx, &kgo.Record{Value: b.record}, first.Promise())
	}
	must(t, first.Err())
	return pass{rate: float64(records) / time.Since(begin).Seconds(), times: times.all}
}

// consume reads records from the topic's beginning.
func (b *kafkaBench) consume(t *testing.T, addr string, records int) pass {
	t.Helper()
	times := &requestTimes{key: 1}
	begin := time.Now()
	c := b.open(t, addr, kgo.WithHooks(times), kgo.ConsumeTopics(kafkaTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	got := 0
	for got < records {
		fetches := c.PollFetches(ctx)
		must(t, fetches.Err())
		got += fetches.NumRecords()
	}
	rate := float64(got) / time.Since(begin).Seconds()
	c.Close()
	return pass{rate: rate, times: times.all}
}

// denied holds that the policed port is policed: a run that goes around the proxy measures nothing.
func (b *kafkaBench) denied(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c := b.open(t, kafkaPoliced)
	err := c.ProduceSync(ctx, &kgo.Record{Topic: "other", Value: b.record}).FirstErr()
	if err == nil || !strings.Contains(err.Error(), "TOPIC_AUTHORIZATION_FAILED") {
		t.Errorf("a record for a denied topic: %v", err)
	}
}
