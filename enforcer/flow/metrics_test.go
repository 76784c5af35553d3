package flow

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/septum-dev/septum/policy"
)

func TestHubbleMetrics(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := recorder(t, Config{Metrics: NewMetrics(registry)})
	r.Add(request(policy.Forwarded, "GET", "/data", 200), nil)
	r.Add(request(policy.Denied, "M-\x1bX", "/data", 403), nil)
	r.Add(packet(policy.Denied, "policy", "203.0.113.9:5555"), nil)
	lookup := packet(policy.Forwarded, "", "10.0.0.1:40000")
	lookup.DNS = &policy.DNSEvent{Name: "www.example.com", Type: 1}
	r.Add(lookup, nil)
	produce := packet(policy.Denied, "", "10.0.0.1:40000")
	produce.Kafka = &policy.KafkaEvent{Topic: "orders"}
	r.Add(produce, nil)
	want := `
# HELP hubble_http_requests_total HTTP requests, by the status of their answer; none if there was no answer.
# TYPE hubble_http_requests_total counter
hubble_http_requests_total{destination_namespace="demo",destination_pod="backend-5f",destination_workload="backend",method="GET",protocol="HTTP/1.1",reporter="server",source_namespace="demo",source_pod="",source_workload="frontend",status="200"} 1
hubble_http_requests_total{destination_namespace="demo",destination_pod="backend-5f",destination_workload="backend",method="other",protocol="HTTP/1.1",reporter="server",source_namespace="demo",source_pod="",source_workload="frontend",status="403"} 1
# HELP hubble_policy_verdicts_total Connections and requests that a policy decided on.
# TYPE hubble_policy_verdicts_total counter
hubble_policy_verdicts_total{action="dropped",direction="ingress",match="l7/http"} 1
hubble_policy_verdicts_total{action="dropped",direction="ingress",match="l7/kafka"} 1
hubble_policy_verdicts_total{action="dropped",direction="ingress",match="none"} 1
hubble_policy_verdicts_total{action="forwarded",direction="ingress",match="l7/dns"} 1
hubble_policy_verdicts_total{action="forwarded",direction="ingress",match="l7/http"} 1
# HELP hubble_flows_processed_total Flows that were made of verdicts.
# TYPE hubble_flows_processed_total counter
hubble_flows_processed_total{protocol="DNS",subtype="DNS",type="L7",verdict="FORWARDED"} 2
hubble_flows_processed_total{protocol="HTTP",subtype="HTTP",type="L7",verdict="DROPPED"} 1
hubble_flows_processed_total{protocol="Kafka",subtype="Kafka",type="L7",verdict="DROPPED"} 1
hubble_flows_processed_total{protocol="HTTP",subtype="HTTP",type="L7",verdict="FORWARDED"} 2
hubble_flows_processed_total{protocol="TCP",subtype="",type="PolicyVerdict",verdict="DROPPED"} 3
hubble_flows_processed_total{protocol="TCP",subtype="POLICY_DENIED",type="Drop",verdict="DROPPED"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "hubble_http_requests_total", "hubble_policy_verdicts_total", "hubble_flows_processed_total"); err != nil {
		t.Error(err)
	}
}

// Names that keep coming must not fill the memory.
func TestSeriesAreBounded(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	m := NewMetrics(registry)
	for i := range maxSeries + 5 {
		m.verdicts.count("ingress", fmt.Sprint(i), "forwarded")
	}
	if got := len(m.verdicts.counters); got != maxSeries+1 {
		t.Errorf("%d series, want %d", got, maxSeries+1)
	}
	if got := testutil.ToFloat64(m.verdicts.vec.WithLabelValues(overflow, overflow, overflow)); got != 5 {
		t.Errorf("%v are counted as overflow, want 5", got)
	}
}
