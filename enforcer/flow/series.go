package flow

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

const (
	// maxSeries bounds how many sets of labels each metric has: names of workloads and pods come
	// and go. What comes later is counted under the label value "other", until others are gone.
	maxSeries = 10_000
	// other stands for what has no series or no value of its own.
	other = "other"
	// goneAfter is how long the series of a pod or workload that is gone stays, so that it is
	// scraped once more, and pruneEvery is how often such series are looked for.
	goneAfter  = 5 * time.Minute
	pruneEvery = 30 * time.Second
)

// The labels of a connection's two ends. Only the end whose policy was asked has its pod's
// name: the number of a node's pods is bounded, that of their peers is not.
func endLabels() []string {
	return []string{"source_namespace", "source_workload", "source_pod", "destination_namespace", "destination_workload", "destination_pod"}
}

// ends are the values of endLabels.
type ends [6]string

// present are the pods ("namespace/pod") and workloads ("namespace//workload") that there are.
type present map[string]bool

func presentIn(np policy.NodePolicy) present {
	out := present{}
	for _, a := range np.Addresses {
		if a.Pod != "" {
			out[clean(a.Namespace)+"/"+clean(a.Pod)] = true
		}
		if a.Workload != "" {
			out[clean(a.Namespace)+"//"+clean(a.Workload)] = true
		}
	}
	return out
}

// has is false where a pod or workload that is named is gone.
func (k present) has(e ends) bool {
	for _, end := range [][]string{e[:3], e[3:]} {
		namespace, workload, pod := end[0], end[1], end[2]
		if workload != "" && workload != other && !k[namespace+"//"+workload] || pod != "" && pod != other && !k[namespace+"/"+pod] {
			return false
		}
	}
	return true
}

// seriesKey is a set of label values; the longest has twelve.
type seriesKey [12]string

// series are those of one metric, whose last labels are the ends.
type series struct {
	vec    *prometheus.MetricVec
	labels []string
	all    map[seriesKey]*one
}

// one series.
type one struct {
	metric prometheus.Metric
	// gone is since when its pod or workload is not there; zero while it is.
	gone time.Time
}

func counters(namespace, name, help string, labels ...string) *series {
	labels = append(labels, endLabels()...)
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	return &series{vec: vec.MetricVec, labels: labels, all: map[seriesKey]*one{}}
}

func gauges(namespace, name, help string, labels ...string) *series {
	labels = append(labels, endLabels()...)
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	return &series{vec: vec.MetricVec, labels: labels, all: map[seriesKey]*one{}}
}

func histograms(namespace, name, help string, buckets []float64, labels ...string) *series {
	labels = append(labels, endLabels()...)
	vec := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets}, labels)
	return &series{vec: vec.MetricVec, labels: labels, all: map[seriesKey]*one{}}
}

// at is the series of the values, and of the ends; "other" in all of them where there are too many.
func (s *series) at(e ends, values ...string) prometheus.Metric {
	var key seriesKey
	n := copy(key[:], values)
	n += copy(key[n:], e[:])
	if found, ok := s.all[key]; ok {
		return found.metric
	}
	if len(s.all) >= maxSeries {
		for i := range n {
			key[i] = other
		}
		if found, ok := s.all[key]; ok {
			return found.metric
		}
	}
	metric, err := s.vec.GetMetricWithLabelValues(key[:n]...)
	if err != nil {
		panic(err) // the number of the values is not that of the labels
	}
	s.all[key] = &one{metric: metric}
	return metric
}

// count adds one to a counter.
func (s *series) count(e ends, values ...string) {
	if c, ok := s.at(e, values...).(prometheus.Counter); ok {
		c.Inc()
	}
}

// set gives a gauge its value.
func (s *series) set(e ends, value float64, values ...string) {
	if g, ok := s.at(e, values...).(prometheus.Gauge); ok {
		g.Set(value)
	}
}

// observe adds to a histogram.
func (s *series) observe(e ends, value float64, values ...string) {
	if h, ok := s.at(e, values...).(prometheus.Observer); ok {
		h.Observe(value)
	}
}

// prune removes the series of what is gone for long enough.
func (s *series) prune(there present, now time.Time) {
	own := len(s.labels) - len(ends{})
	for key, o := range s.all {
		switch {
		case there.has(ends(key[own : own+len(ends{})])):
			o.gone = time.Time{}
		case o.gone.IsZero():
			o.gone = now
		case now.Sub(o.gone) >= goneAfter:
			s.vec.DeleteLabelValues(slices.Clone(key[:len(s.labels)])...)
			delete(s.all, key)
		}
	}
}

// setOnce gives a gauge its value where it has none.
func (s *series) setOnce(e ends, value float64, values ...string) {
	before := len(s.all)
	if g, ok := s.at(e, values...).(prometheus.Gauge); ok && len(s.all) > before {
		g.Set(value)
	}
}
