package flow

import (
	"strconv"
	"strings"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

// maxSeries bounds how many sets of labels each metric of Hubble's has: names of workloads and
// pods come and go. What comes later is counted under the label value "overflow".
const maxSeries = 10_000

// overflow stands for what has no series of its own.
const overflow = "overflow"

// Metrics are Hubble's, with Hubble's names and labels, so that dashboards made for Cilium
// show Septum's flows. Observe belongs to one goroutine.
type Metrics struct {
	flows, drops, verdicts, requests *series
	durations                        *prometheus.HistogramVec
	lost                             *prometheus.CounterVec
	duration                         map[durationKey]prometheus.Observer
}

// The labels of a connection's two ends. Only the end whose policy was asked has its pod's
// name: the number of a node's pods is bounded, that of their peers is not.
func endLabels() []string {
	return []string{"source_namespace", "source_workload", "source_pod", "destination_namespace", "destination_workload", "destination_pod"}
}

// NewMetrics registers Hubble's metrics.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *series {
		vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "hubble", Name: name, Help: help}, labels)
		r.MustRegister(vec)
		return &series{vec: vec, width: len(labels), counters: map[seriesKey]prometheus.Counter{}}
	}
	m := &Metrics{
		flows: counter("flows_processed_total", "Flows that were made of verdicts.", "type", "subtype", "verdict", "protocol"),
		drops: counter("drop_total", "Connections, datagrams and packets that were dropped.",
			append([]string{"reason", "protocol", "traffic_direction"}, endLabels()...)...),
		verdicts: counter("policy_verdicts_total", "Connections and requests that a policy decided on.",
			"direction", "match", "action"),
		requests: counter("http_requests_total", "HTTP requests, by the status of their answer; none if there was no answer.",
			append([]string{"method", "protocol", "status", "reporter"}, endLabels()...)...),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "hubble", Name: "http_request_duration_seconds", Help: "Time from an HTTP request to the first byte of its answer.",
			Buckets: prometheus.DefBuckets,
		}, []string{"method", "reporter", "source_namespace", "source_workload", "destination_namespace", "destination_workload"}),
		duration: map[durationKey]prometheus.Observer{},
	}
	m.lost = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "hubble", Name: "lost_events_total", Help: "Events that became no flow, and flows that a reader was too slow for.",
	}, []string{"source"})
	r.MustRegister(m.durations, m.lost)
	return m
}

// Lost counts what was lost before it became a flow. It may be called by any goroutine.
func (m *Metrics) Lost(source flowpb.LostEventSource, n uint64) {
	m.lost.WithLabelValues(strings.ToLower(source.String())).Add(float64(n))
}

// seriesKey is a set of label values; the longest has ten.
type seriesKey [10]string

// series are the counters of one metric.
type series struct {
	vec      *prometheus.CounterVec
	width    int
	counters map[seriesKey]prometheus.Counter
}

func (s *series) count(values ...string) {
	var key seriesKey
	copy(key[:], values)
	c, ok := s.counters[key]
	if !ok {
		if len(s.counters) >= maxSeries {
			for i := range s.width {
				values[i], key[i] = overflow, overflow
			}
		}
		c = s.vec.WithLabelValues(values...)
		s.counters[key] = c
	}
	c.Inc()
}

type durationKey struct{ method, reporter, srcNamespace, src, dstNamespace, dst string }

// observe counts what the event is, once for each of its flows.
func (m *Metrics) observe(c converter, parts []part) {
	for _, p := range parts {
		kind, subtype, protocol := p.names(c.event)
		m.flows.count(kind, subtype, p.verdict(c.event).String(), protocol)
	}
	ends := c.ends()
	e := c.event
	direction := strings.ToLower(trafficDirection(e.Direction).String())
	protocol := protocolOf(e)
	if e.Verdict == policy.Denied {
		m.drops.count(append([]string{dropReason(e.DropReason).String(), protocol, direction}, ends[:]...)...)
	}
	if e.HTTP != nil || e.TLS != nil || e.DNS != nil || e.Kafka != nil || e.Verdict != policy.Denied || byPolicy(e.DropReason) {
		m.verdicts.count(direction, matchName(e), actionName(e.Verdict))
	}
	if e.HTTP != nil {
		m.http(e, ends)
	}
}

func (m *Metrics) http(e policy.Event, ends [6]string) {
	method, version := methodLabel(e.HTTP.Method), versionLabel(e.HTTP.Version)
	status, reporter := "", "server"
	if e.HTTP.Code > 0 && e.HTTP.Code < 1000 {
		status = strconv.Itoa(e.HTTP.Code)
	}
	if e.Direction == policy.Egress {
		reporter = "client"
	}
	m.requests.count(append([]string{method, version, status, reporter}, ends[:]...)...)
	if status == "" || e.Verdict == policy.Denied {
		return
	}
	key := durationKey{method, reporter, ends[0], ends[1], ends[3], ends[4]}
	observer, ok := m.duration[key]
	if !ok {
		if len(m.duration) >= maxSeries {
			key = durationKey{overflow, overflow, overflow, overflow, overflow, overflow}
		}
		observer = m.durations.WithLabelValues(key.method, key.reporter, key.srcNamespace, key.src, key.dstNamespace, key.dst)
		m.duration[key] = observer
	}
	observer.Observe(e.HTTP.Latency.Seconds())
}

// ends are the values of endLabels.
func (c converter) ends() [6]string {
	src, dst := c.people.at(c.event.Src.Addr()), c.people.at(c.event.Dst.Addr())
	out := [6]string{clean(src.Namespace), clean(src.Workload), "", clean(dst.Namespace), clean(dst.Workload), ""}
	if c.event.Direction == policy.Egress {
		out[2] = clean(src.Pod)
	} else {
		out[5] = clean(dst.Pod)
	}
	return out
}

// methodLabel is a method that is registered, or "other": the text is the client's.
func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return method
	}
	return "other"
}

func versionLabel(version string) string {
	switch version {
	case "HTTP/1.0", "HTTP/1.1", "HTTP/2":
		return version
	}
	return ""
}

// matchName and actionName are Hubble's words in policy_verdicts_total.
func matchName(e policy.Event) string {
	switch {
	case e.HTTP != nil:
		return "l7/http"
	case e.DNS != nil:
		return "l7/dns"
	case e.Kafka != nil:
		return "l7/kafka"
	case e.TLS != nil:
		return "l7/tls"
	case e.Rule != policy.RuleID{}:
		return "l3-l4"
	}
	return "none"
}

func actionName(v policy.Verdict) string {
	switch v {
	case policy.Denied:
		return "dropped"
	case policy.Redirected:
		return "redirected"
	case policy.Audited:
		return "audit"
	case policy.Forwarded:
	}
	return "forwarded"
}

func trafficDirection(d policy.Direction) flowpb.TrafficDirection {
	if d == policy.Egress {
		return flowpb.TrafficDirection_EGRESS
	}
	return flowpb.TrafficDirection_INGRESS
}
