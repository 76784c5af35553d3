package relay

import (
	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/connectivity"
)

// metrics are the relay's own, all with the prefix septum_relay_.
type metrics struct {
	readers                               prometheus.GaugeFunc
	nodes                                 nodeStates
	streams, refused, sent, lost, silence prometheus.Counter
}

func newMetrics(r *Relay) metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "septum", Subsystem: "relay", Name: name, Help: help})
	}
	return metrics{
		readers: prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Namespace: "septum", Subsystem: "relay", Name: "readers", Help: "Clients that read the cluster's flows now.",
		}, func() float64 { return float64(len(r.clients)) }),
		nodes: nodeStates{pool: &r.pool, desc: prometheus.NewDesc("septum_relay_nodes",
			"Nodes that the relay knows, by its connection to them: ready, failed, or idle where nobody has asked.", []string{"state"}, nil)},
		streams: counter("streams_total", "Clients that have begun to read flows."),
		refused: counter("streams_refused_total", "Clients that were refused, as too many read flows."),
		sent:    counter("flows_sent_total", "Flows that were sent to clients."),
		lost:    counter("flows_lost_total", "Flows that clients were told of as lost, by nodes or as they read too slowly."),
		silence: counter("nodes_unavailable_total", "How often a client was told that a node does not answer."),
	}
}

func (m metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.readers, m.nodes, m.streams, m.refused, m.sent, m.lost, m.silence}
}

// counted is send, and counts what was sent.
func (r *Relay) counted(send func(*observerpb.GetFlowsResponse) error) func(*observerpb.GetFlowsResponse) error {
	return func(res *observerpb.GetFlowsResponse) error {
		if err := send(res); err != nil {
			return err
		}
		switch {
		case res.GetFlow() != nil:
			r.metrics.sent.Inc()
		case res.GetLostEvents() != nil:
			r.metrics.lost.Add(float64(res.GetLostEvents().GetNumEventsLost()))
		case res.GetNodeStatus().GetStateChange() == relaypb.NodeState_NODE_UNAVAILABLE:
			r.metrics.silence.Add(float64(len(res.GetNodeStatus().GetNodeNames())))
		}
		return nil
	}
}

// nodeStates counts the pool's connections when it is asked.
type nodeStates struct {
	pool *pool
	desc *prometheus.Desc
}

// Describe is a [prometheus.Collector]'s.
func (s nodeStates) Describe(out chan<- *prometheus.Desc) { out <- s.desc }

// Collect is a [prometheus.Collector]'s.
func (s nodeStates) Collect(out chan<- prometheus.Metric) {
	counts := map[string]int{"ready": 0, "failed": 0, "idle": 0}
	s.pool.mu.Lock()
	for _, p := range s.pool.peers {
		switch p.conn.GetState() {
		case connectivity.Ready:
			counts["ready"]++
		case connectivity.TransientFailure, connectivity.Connecting, connectivity.Shutdown:
			counts["failed"]++
		case connectivity.Idle:
			counts["idle"]++
		}
	}
	s.pool.mu.Unlock()
	for state, n := range counts {
		out <- prometheus.MustNewConstMetric(s.desc, prometheus.GaugeValue, float64(n), state)
	}
}
