package flow

import (
	"strconv"

	"github.com/septum-dev/septum/policy"
)

// The most topics that have series of their own, of those that are allowed and of those that
// are denied, while the enforcer runs. Whoever may ask for nothing can still name what it
// likes: that must not take the place of the topics that are in use.
const (
	maxTopics       = 1000
	maxDeniedTopics = 100
)

// kafkaMetrics count Kafka requests.
type kafkaMetrics struct {
	requests *series
	// allowed and denied are the topics that have a label.
	allowed, denied map[string]bool
}

func newKafkaMetrics() kafkaMetrics {
	return kafkaMetrics{
		requests: counters("hubble", "kafka_requests_total",
			"Kafka requests, once for each of their topics; error_code is that of a refusal by the policy, 0 for none.",
			"topic", "api_key", "error_code", "reporter"),
		allowed: map[string]bool{}, denied: map[string]bool{},
	}
}

func (m kafkaMetrics) observe(e policy.Event, at ends) {
	key := other
	if e.Kafka.Key.Known() {
		key = e.Kafka.Key.String()
	}
	m.requests.count(at, m.topic(clean(e.Kafka.Topic), e.Verdict == policy.Denied), key, strconv.Itoa(int(e.Kafka.Error)), reporterOf(e.Direction))
}

// topic is the topic's label: its name, or other.
func (m kafkaMetrics) topic(name string, denied bool) string {
	known, most := m.allowed, maxTopics
	if denied {
		known, most = m.denied, maxDeniedTopics
	}
	switch {
	case name == "" || m.allowed[name] || known[name]:
		return name
	case len(known) < most:
		known[name] = true
		return name
	}
	return other
}
