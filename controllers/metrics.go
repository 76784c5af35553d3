package controllers

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the operator's, all with the prefix septum_.
type metrics struct {
	compileSeconds prometheus.Histogram
	objects        *prometheus.GaugeVec
	problems       *prometheus.GaugeVec
	connected      prometheus.Gauge
	acked          prometheus.Gauge
	pushes         *prometheus.CounterVec
	pushedTotal    *prometheus.CounterVec
	refusals       *prometheus.CounterVec
	statusWrites   *prometheus.CounterVec
}

// RegisterMetrics registers the operator's metrics, for who lists or draws them.
func RegisterMetrics(r prometheus.Registerer) error {
	_, err := newMetrics(r)
	return err
}

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		compileSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "septum_compile_seconds", Help: "Time to compile all policies and to serve the result.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}),
		objects: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "septum_resources", Help: "What the last compile was made of and made, by type; each replica says the same.",
		}, []string{"type"}),
		problems: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "septum_problems", Help: "Problems of policies, by reason and severity; each replica says the same.",
		}, []string{"reason", "severity"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "septum_nodes_connected", Help: "Nodes with an open stream to this replica; the sum is the cluster's.",
		}),
		acked: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "septum_nodes_acked", Help: "Of the nodes connected to this replica, those that have the current state in their data path.",
		}),
		pushes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "septum_pushes_total", Help: "Responses sent to nodes, by type.",
		}, []string{"type"}),
		pushedTotal: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "septum_pushed_resources_total", Help: "Resources sent to nodes, by type.",
		}, []string{"type"}),
		refusals: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "septum_nacks_total", Help: "Responses that nodes refused, by type.",
		}, []string{"type"}),
		statusWrites: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "septum_status_writes_total", Help: "Statuses written, by kind of object and result.",
		}, []string{"kind", "result"}),
	}
	for _, c := range []prometheus.Collector{
		m.compileSeconds, m.objects, m.problems, m.connected, m.acked, m.pushes, m.pushedTotal, m.refusals, m.statusWrites,
	} {
		if err := registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

func (m *metrics) compiled(took time.Duration, p *publication) {
	m.compileSeconds.Observe(took.Seconds())
	for kind, n := range p.counts {
		m.objects.WithLabelValues(kind).Set(float64(n))
	}
	m.problems.Reset()
	for _, record := range p.policies {
		for _, problem := range record.problems {
			severity := "error"
			if problem.Warning {
				severity = "warning"
			}
			m.problems.WithLabelValues(string(problem.Reason), severity).Inc()
		}
	}
}

func (m *metrics) nodes(connected, acked int) {
	m.connected.Set(float64(connected))
	m.acked.Set(float64(acked))
}

func (m *metrics) pushed(typeURL string, resources int) {
	m.pushes.WithLabelValues(shortType(typeURL)).Inc()
	m.pushedTotal.WithLabelValues(shortType(typeURL)).Add(float64(resources))
}

func (m *metrics) refused(typeURL string) { m.refusals.WithLabelValues(shortType(typeURL)).Inc() }

func (m *metrics) wrote(kind string, err error) {
	result := "ok"
	if err != nil {
		result = "error"
	}
	m.statusWrites.WithLabelValues(kind, result).Inc()
}

func shortType(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }
