package flow

import (
	"strings"
	"sync"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

// Metrics are Hubble's, with Hubble's names and labels, so that dashboards made for Cilium
// show Septum's flows; and, as septum_…, what Hubble has no metric for. They are safe for
// concurrent use.
type Metrics struct {
	mu     sync.Mutex
	now    func() time.Time
	there  present
	pruned time.Time

	flows, drops, verdicts, icmp, flags *series
	http                                httpMetrics
	grpc                                *series
	dns                                 dnsMetrics
	kafka                               kafkaMetrics
	denials                             denialMetrics
	lost                                *prometheus.CounterVec
}

// NewMetrics registers the metrics of flows. Now is the clock.
func NewMetrics(r prometheus.Registerer, now func() time.Time) *Metrics {
	m := &Metrics{
		now: now, there: present{},
		flows: counters("hubble", "flows_processed_total", "Flows that were made of verdicts.", "type", "subtype", "verdict", "protocol"),
		drops: counters("hubble", "drop_total", "Connections, datagrams and packets that were dropped.", "reason", "protocol", "traffic_direction"),
		verdicts: counters("hubble", "policy_verdicts_total", "Connections and requests that a policy decided on.",
			"direction", "match", "action"),
		icmp:    counters("hubble", "icmp_total", "ICMP messages that were judged: the first of each flow.", "family", "type"),
		flags:   counters("hubble", "tcp_flags_total", "TCP connections that were opened and not dropped, as the flag SYN; other flags are not seen.", "flag", "family"),
		http:    newHTTPMetrics(),
		grpc:    counters("septum", "grpc_requests_total", "gRPC requests that ended, by the status of their answer; none if there was no status.", "status", "verdict", "reporter"),
		dns:     newDNSMetrics(),
		kafka:   newKafkaMetrics(),
		denials: newDenialMetrics(),
	}
	m.lost = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "hubble", Name: "lost_events_total", Help: "Events that became no flow, and flows that a reader was too slow for.",
	}, []string{"source"})
	r.MustRegister(m, m.lost)
	return m
}

func (m *Metrics) all() []*series {
	return []*series{
		m.flows, m.drops, m.verdicts, m.icmp, m.flags, m.grpc,
		m.http.started, m.http.requests, m.http.durations,
		m.dns.queries, m.dns.responses, m.dns.types, m.dns.durations, m.kafka.requests,
		m.denials.total, m.denials.first, m.denials.last,
	}
}

// Describe is a [prometheus.Collector]'s.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	for _, s := range m.all() {
		s.vec.Describe(out)
	}
}

// Collect is a [prometheus.Collector]'s. What is gone since long is removed before.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	prune := now.Sub(m.pruned) >= pruneEvery
	if prune {
		m.pruned = now
		m.denials.prune(m.there)
	}
	for _, s := range m.all() {
		if prune {
			s.prune(m.there, now)
		}
		s.vec.Collect(out)
	}
}

// know takes which pods and workloads there are.
func (m *Metrics) know(np policy.NodePolicy) {
	there := presentIn(np)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.there = there
}

// Lost counts what was lost before it became a flow.
func (m *Metrics) Lost(source flowpb.LostEventSource, n uint64) {
	m.lost.WithLabelValues(strings.ToLower(source.String())).Add(float64(n))
}

// observe counts what the event is, once for each of its flows.
func (m *Metrics) observe(c converter, parts []part) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, at := c.event, c.ends()
	for _, p := range parts {
		kind, subtype, protocol := p.names(e)
		m.flows.count(at, kind, subtype, p.verdict(e).String(), protocol)
	}
	if e.HTTP != nil {
		m.http.observe(e, at)
		m.observeGRPC(e, at)
		if e.HTTP.Stage == policy.HTTPEnded {
			return // its verdict was counted when it began
		}
	}
	if e.DNS != nil {
		m.dns.observe(e, at)
	}
	if e.Kafka != nil {
		m.kafka.observe(e, at)
	}
	direction := strings.ToLower(trafficDirection(e.Direction).String())
	if e.Verdict == policy.Denied {
		m.drops.count(at, dropReason(e.DropReason).String(), protocolOf(e), direction)
		m.denials.observe(c, at)
	}
	layer7 := e.HTTP != nil || e.TLS != nil || e.DNS != nil || e.Kafka != nil
	if layer7 || e.Verdict != policy.Denied || byPolicy(e.DropReason) {
		m.verdicts.count(at, direction, matchName(e), actionName(e.Verdict))
	}
	if !layer7 {
		m.packet(e, at)
	}
}

// packet counts what the BPF programs judged, by its first packet.
func (m *Metrics) packet(e policy.Event, at ends) {
	family := "IPv4"
	if !e.Dst.Addr().Unmap().Is4() {
		family = "IPv6"
	}
	switch e.Protocol {
	case policy.ProtocolICMP, policy.ProtocolICMPv6:
		m.icmp.count(at, family, icmpName(e.Protocol, uint8(e.Dst.Port()>>8)))
	case policy.ProtocolTCP:
		if e.Verdict != policy.Denied { // as Hubble counts them
			m.flags.count(at, "SYN", family)
		}
	}
}

// ends are the values of endLabels.
func (c converter) ends() ends {
	src, dst := c.people.at(c.event.Src.Addr()), c.people.at(c.event.Dst.Addr())
	out := ends{clean(src.Namespace), clean(src.Workload), "", clean(dst.Namespace), clean(dst.Workload), ""}
	if c.event.Direction == policy.Egress {
		out[2] = clean(src.Pod)
	} else {
		out[5] = clean(dst.Pod)
	}
	return out
}

// reporterOf is who saw a request: the server for ingress.
func reporterOf(d policy.Direction) string {
	if d == policy.Egress {
		return "client"
	}
	return "server"
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
