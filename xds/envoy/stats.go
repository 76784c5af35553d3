package envoy

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// statsTimeout is how long a scrape waits for Envoy, maxStats how much it may say.
	statsTimeout = time.Second
	maxStats     = 64 << 10
	statsURL     = "http://admin/stats?format=json&filter=%5Eserver%5C.%28memory_heap_size%7Cmemory_allocated%7Cuptime%7Ctotal_connections%29%24"
)

// Stats is a [prometheus.Collector] of a few of Envoy's own statistics, which it asks for
// over its admin socket when it is asked itself. An Envoy that does not answer has none.
type Stats struct {
	client *http.Client
	up     *prometheus.Desc
	limit  prometheus.Gauge
	// by are the descriptions by Envoy's names.
	by map[string]*prometheus.Desc
}

// NewStats asks the Envoy whose admin socket is at that path, and which refuses requests when
// its heap is as large as maxHeap; 0 is what [Bootstrap] makes of it.
func NewStats(socket string, maxHeap uint64) *Stats {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("septum_envoy_"+name, help, nil, nil)
	}
	limit := prometheus.NewGauge(prometheus.GaugeOpts{Name: "septum_envoy_heap_limit_bytes", Help: "The heap at which Envoy refuses new requests."})
	if maxHeap == 0 {
		maxHeap = defaultHeap
	}
	limit.Set(float64(maxHeap))
	return &Stats{
		limit: limit,
		client: &http.Client{Timeout: statsTimeout, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", socket)
			},
		}},
		up: desc("up", "1 while Envoy answers on its admin socket."),
		by: map[string]*prometheus.Desc{
			"server.memory_heap_size":  desc("heap_bytes", "Memory that Envoy's heap has from the system."),
			"server.memory_allocated":  desc("allocated_bytes", "Memory of the heap that Envoy uses."),
			"server.uptime":            desc("uptime_seconds", "How long this Envoy has run; it begins anew with each restart."),
			"server.total_connections": desc("connections", "Connections that Envoy has from clients."),
		},
	}
}

// Describe is a [prometheus.Collector]'s.
func (s *Stats) Describe(out chan<- *prometheus.Desc) {
	out <- s.up
	out <- s.limit.Desc()
	for _, d := range s.by {
		out <- d
	}
}

// Collect is a [prometheus.Collector]'s.
func (s *Stats) Collect(out chan<- prometheus.Metric) {
	values, err := s.ask()
	up := 1.0
	if err != nil {
		up = 0
	}
	out <- prometheus.MustNewConstMetric(s.up, prometheus.GaugeValue, up)
	out <- s.limit
	for name, value := range values {
		if d := s.by[name]; d != nil {
			out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value)
		}
	}
}

func (s *Stats) ask() (map[string]float64, error) {
	res, err := s.client.Get(statsURL)
	if err != nil {
		return nil, fmt.Errorf("ask Envoy for its statistics: %w", err)
	}
	defer res.Body.Close()
	var said struct {
		Stats []struct {
			Name  string   `json:"name"`
			Value *float64 `json:"value"`
		} `json:"stats"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxStats)).Decode(&said); err != nil {
		return nil, fmt.Errorf("read Envoy's statistics: %w", err)
	}
	values := map[string]float64{}
	for _, v := range said.Stats {
		if v.Value != nil {
			values[v.Name] = *v.Value
		}
	}
	return values, nil
}
