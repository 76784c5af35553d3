package enforcer

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// datapathMetrics are about what the enforcer looks after: maps, hooks and proxies.
type datapathMetrics struct {
	entries, maxEntries *prometheus.GaugeVec
	movedTotal          prometheus.Counter
	problems            *prometheus.GaugeVec
	proxyUp             *prometheus.GaugeVec
	proxyConnects       *prometheus.CounterVec
}

func newDatapathMetrics(r prometheus.Registerer) datapathMetrics {
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "septum", Subsystem: "enforcer", Name: name, Help: help}, []string{label})
	}
	m := datapathMetrics{
		entries:    gauges("map_entries", "Entries of a BPF map. Maps of connections (conns, datagrams) drop the oldest when they are full, others refuse a policy that does not fit.", "map"),
		maxEntries: gauges("map_max_entries", "The most entries that a BPF map can have.", "map"),
		movedTotal: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "septum", Subsystem: "enforcer", Name: "hooks_moved_total", Help: "Hooks at which Septum's program was gone, or another came before it, and which it was put first at again.",
		}),
		problems: gauges("problems", "What is not enforced as it should be on the node, by reason.", "reason"),
		proxyUp:  gauges("proxy_connected", "1 while the proxy (envoy, or septum for Septum's own) is connected to the enforcer.", "proxy"),
		proxyConnects: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "septum", Subsystem: "enforcer", Name: "proxy_connects_total", Help: "How often the proxy has connected to the enforcer: once for each start of either.",
		}, []string{"proxy"}),
	}
	for _, name := range proxyNames() {
		m.proxyUp.WithLabelValues(name)
		m.proxyConnects.WithLabelValues(name)
	}
	r.MustRegister(m.entries, m.maxEntries, m.movedTotal, m.problems, m.proxyUp, m.proxyConnects)
	return m
}

// proxyNames are the label values of the proxies, by [policy.Backend].
func proxyNames() [2]string {
	return [2]string{policy.BackendEnvoy: "envoy", policy.BackendOwn: "septum"}
}

func (m *Metrics) fills(fills map[string]bpf.Fill) {
	for name, f := range fills {
		m.datapath.entries.WithLabelValues(name).Set(float64(f.Entries))
		m.datapath.maxEntries.WithLabelValues(name).Set(float64(f.Max))
	}
}

func (m *Metrics) moved(hooks int) { m.datapath.movedTotal.Add(float64(hooks)) }

func (m *Metrics) problems(now []*septumpb.NodeProblem) {
	m.datapath.problems.Reset()
	for _, p := range now {
		m.datapath.problems.WithLabelValues(p.GetReason()).Inc()
	}
}

// proxies takes which are connected, and were before.
func (m *Metrics) proxies(before, now [2]bool) {
	for backend, name := range proxyNames() {
		up := 0.0
		if now[backend] {
			up = 1
		}
		m.datapath.proxyUp.WithLabelValues(name).Set(up)
		if now[backend] && !before[backend] {
			m.datapath.proxyConnects.WithLabelValues(name).Inc()
		}
	}
}
