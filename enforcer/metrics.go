package enforcer

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/septum-dev/septum/policy"
)

// The kinds of verdicts.
const (
	kindL4   = "l4"
	kindHTTP = "http"
	kindTLS  = "tls"
	// kindKafka counts each topic of a request by itself.
	kindKafka = "kafka"
	kindDNS   = "dns"
)

// stale is how long the loop may be busy before it counts as hung: Envoy is never waited
// for in it, so that only the kernel can hold it.
const stale = 30 * time.Second

// Metrics are what the enforcer says of itself. It is safe for concurrent use.
type Metrics struct {
	endpoints     prometheus.Gauge
	attached      prometheus.Gauge
	unenforced    prometheus.Gauge
	attachErrors  prometheus.Counter
	appliedTime   prometheus.Gauge
	proxyReady    prometheus.Gauge
	verdictsTotal *prometheus.CounterVec
	dropsTotal    *prometheus.CounterVec
	lostTotal     *prometheus.CounterVec
	lateTotal     prometheus.Counter
	unjudgedTotal prometheus.Counter
	heldSeconds   *prometheus.HistogramVec
	learntNames   prometheus.Gauge
	notLearntFor  *prometheus.CounterVec
	datapath      datapathMetrics
	repairsTotal  *prometheus.CounterVec

	registry Registry
	beaten   atomic.Int64
	ready    atomic.Bool
}

// Registry is what metrics are registered with and served from, as [prometheus.Registry] is.
type Registry interface {
	prometheus.Registerer
	prometheus.Gatherer
}

// NewMetrics registers the enforcer's metrics.
func NewMetrics(r Registry) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "septum", Subsystem: "enforcer", Name: name, Help: help})
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "septum", Subsystem: "enforcer", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry:   r,
		endpoints:  gauge("endpoints", "Pods of the node that the policy in force has."),
		attached:   gauge("attached_endpoints", "Pods whose programs are attached."),
		unenforced: gauge("unenforced_endpoints", "Pods that a policy selects and that are not enforced."),
		attachErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "septum", Subsystem: "enforcer", Name: "attach_errors_total", Help: "Attempts to attach a pod's programs that failed.",
		}),
		appliedTime:   gauge("last_applied_timestamp_seconds", "When a change was last written into the data path."),
		proxyReady:    gauge("proxy_ready", "1 while Envoy, and Septum's own proxy where it has classes, are connected and hold the configuration in force."),
		verdictsTotal: counters("verdicts_total", "Verdicts, by connection (l4) and by request (http, kafka, dns).", "kind", "verdict"),
		dropsTotal:    counters("drops_total", "Packets dropped by the BPF programs.", "reason"),
		lostTotal:     counters("lost_events_total", "Events that were not counted because too many came at once.", "source"),
	}
	m.lateTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "septum", Subsystem: "enforcer", Name: "pods_seen_late_total",
		Help: "Policed pods that started before their policy was in force, as no CNI plugin held them.",
	})
	m.unjudgedTotal = prometheus.NewCounter(prometheus.CounterOpts{
		Namespace: "septum", Subsystem: "enforcer", Name: "unjudged_connections_total",
		Help: "Connections that went on without their layer 7 rules, as the proxy could not judge them and failurePolicy is Open.",
	})
	m.heldSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Namespace: "septum", Subsystem: "enforcer", Name: "pod_start_held_seconds",
		Help:    "How long the CNI plugin held a pod's start, by what became of it.",
		Buckets: []float64{0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30},
	}, []string{"outcome"})
	m.learntNames = gauge("learnt_addresses", "Addresses of names that pods were given by the DNS and policies name, by pod and name.")
	m.repairsTotal = counters("repairs_total", "What somebody else has taken from the data path or written over, and was put back: pin, map, proxy.", "what")
	m.notLearntFor = counters("refused_addresses_total", "Addresses of names that were not learnt, and stay closed.", "reason")
	m.datapath = newDatapathMetrics(r)
	r.MustRegister(m.learntNames, m.notLearntFor, m.endpoints, m.attached, m.unenforced, m.attachErrors, m.appliedTime, m.proxyReady, m.verdictsTotal, m.dropsTotal, m.lostTotal,
		m.lateTotal, m.unjudgedTotal, m.heldSeconds, m.repairsTotal)
	return m
}

// Lost counts an event that found its channel full.
func (m *Metrics) Lost(source string) { m.lost(source, 1) }

// LostMany counts events that another process had no room for.
func (m *Metrics) LostMany(source string, n uint64) { m.lost(source, n) }

func (m *Metrics) lost(source string, n uint64) { m.lostTotal.WithLabelValues(source).Add(float64(n)) }

func (m *Metrics) beat(now time.Time) { m.beaten.Store(now.UnixNano()) }

func (m *Metrics) applied(now time.Time, endpoints int) {
	m.ready.Store(true)
	m.appliedTime.Set(float64(now.UnixNano()) / 1e9)
	m.endpoints.Set(float64(endpoints))
}

func (m *Metrics) pods(attached, unenforced int) {
	m.attached.Set(float64(attached))
	m.unenforced.Set(float64(unenforced))
}

func (m *Metrics) late() { m.lateTotal.Inc() }

func (m *Metrics) held(outcome string, waited time.Duration) {
	m.heldSeconds.WithLabelValues(outcome).Observe(waited.Seconds())
}

func (m *Metrics) unjudged(n uint64) { m.unjudgedTotal.Add(float64(n)) }

func (m *Metrics) learnt(n int) { m.learntNames.Set(float64(n)) }

func (m *Metrics) notLearnt(reason string, n int) {
	m.notLearntFor.WithLabelValues(reason).Add(float64(n))
}

func (m *Metrics) repaired(what string, n int) { m.repairsTotal.WithLabelValues(what).Add(float64(n)) }

func (m *Metrics) attachFailed() { m.attachErrors.Inc() }

func (m *Metrics) proxy(ready bool) {
	m.proxyReady.Set(map[bool]float64{true: 1}[ready])
}

func (m *Metrics) verdicts(kind string, v policy.Verdict, n uint64) {
	name := map[policy.Verdict]string{policy.Denied: "denied", policy.Forwarded: "forwarded", policy.Redirected: "redirected", policy.Audited: "audited"}[v]
	m.verdictsTotal.WithLabelValues(kind, name).Add(float64(n))
}

func (m *Metrics) drops(reason string, n uint64) {
	m.dropsTotal.WithLabelValues(reason).Add(float64(n))
}

// Handler serves /metrics; /healthz, which fails when the loop hangs; and /readyz, which
// fails until a policy is in force.
func (m *Metrics) Handler(now func() time.Time) http.Handler {
	check := func(good func() bool) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if !good() {
				http.Error(w, "not ready", http.StatusServiceUnavailable)
				return
			}
			w.WriteHeader(http.StatusOK)
		}
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{}))
	mux.Handle("GET /healthz", check(func() bool { return now().Sub(time.Unix(0, m.beaten.Load())) < stale }))
	mux.Handle("GET /readyz", check(m.ready.Load))
	return mux
}
