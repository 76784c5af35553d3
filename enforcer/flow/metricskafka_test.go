package flow

import (
	"fmt"
	"testing"

	"github.com/septum-dev/septum/policy"
)

func kafkaEvent(v policy.Verdict, k policy.KafkaEvent) policy.Event {
	e := packet(v, "", "10.0.0.1:40000")
	e.Kafka = &k
	return e
}

func TestKafkaMetrics(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	r.Add(kafkaEvent(policy.Forwarded, policy.KafkaEvent{Key: policy.KafkaProduce, Topic: "orders"}), nil)
	r.Add(kafkaEvent(policy.Denied, policy.KafkaEvent{Key: policy.KafkaFetch, Topic: "sal\x1baries", Error: 29}), nil)
	r.Add(kafkaEvent(policy.Denied, policy.KafkaEvent{Key: 999}), nil)
	expect(t, registry, "hubble_kafka_requests_total",
		"api_key=Produce "+atBackend+"error_code=0 reporter=server "+fromFront+"topic=orders 1",
		"api_key=Fetch "+atBackend+"error_code=29 reporter=server "+fromFront+"topic=sal�aries 1",
		"api_key=other "+atBackend+"error_code=0 reporter=server source_namespace=demo source_workload=frontend 1")
}

// Names that nobody may use do not take the place of those in use, and none fill the memory.
func TestKafkaTopicsAreBounded(t *testing.T) {
	m := newKafkaMetrics()
	for i := range 2 * maxDeniedTopics {
		m.topic(fmt.Sprint("guess-", i), true)
	}
	if got := m.topic("one-more-guess", true); got != other {
		t.Errorf("the label of one more denied topic is %q", got)
	}
	if got := m.topic("orders", false); got != "orders" {
		t.Errorf("the label of an allowed topic is %q", got)
	}
	if got := m.topic("orders", true); got != "orders" {
		t.Errorf("the label of an allowed topic in a request that is denied is %q", got)
	}
	for i := range 2 * maxTopics {
		m.topic(fmt.Sprint("topic-", i), false)
	}
	if len(m.allowed) != maxTopics || len(m.denied) != maxDeniedTopics {
		t.Errorf("%d and %d topics, want %d and %d", len(m.allowed), len(m.denied), maxTopics, maxDeniedTopics)
	}
}
