package flow

import (
	"slices"
	"strconv"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// denialMetrics answer who was denied what, where, by which rule, and since when.
type denialMetrics struct {
	total, first, last *series
	// ports are those that were denied, of each pod.
	ports map[string]map[uint16]bool
}

const (
	// maxPorts is how many ports of one pod are told apart: who tries all of them must not
	// take the series of others.
	maxPorts = 32
	// maxPolicies is how many policies a denial by no rule is laid to by name.
	maxPolicies = 4
)

func newDenialMetrics() denialMetrics {
	labels := func() []string { return []string{"kind", "port", "direction", "policy", "rule"} }
	return denialMetrics{
		total: counters("septum", "denials_total", "Connections and requests that a policy denied; without a rule, as none allowed them.", labels()...),
		first: gauges("septum", "denials_first_timestamp_seconds", "When the first of the denials was.", labels()...),
		last:  gauges("septum", "denials_last_timestamp_seconds", "When the last of the denials was.", labels()...),
		ports: map[string]map[uint16]bool{},
	}
}

func (m denialMetrics) observe(c converter, at ends) {
	e := c.event
	kind := kindOf(e)
	if kind == "" {
		return
	}
	values := []string{kind, m.port(e, at), strings.ToLower(trafficDirection(e.Direction).String()), policyNames(c.by), clean(e.Rule.Path)}
	seconds := float64(e.Time.UnixNano()) / 1e9
	m.total.count(at, values...)
	m.last.set(at, seconds, values...)
	m.first.setOnce(at, seconds, values...)
}

// kindOf is "" for a packet that no policy denied.
func kindOf(e policy.Event) string {
	switch {
	case e.HTTP != nil && e.HTTP.GRPC != nil:
		return "grpc"
	case e.HTTP != nil:
		return "http"
	case e.DNS != nil:
		return "dns"
	case e.Kafka != nil:
		return "kafka"
	case e.TLS != nil:
		return "tls"
	case byPolicy(e.DropReason):
		return strings.ToLower(protocolName(e.Protocol))
	}
	return ""
}

// port is the destination's, or "other" where the pod that judged has had many.
func (m denialMetrics) port(e policy.Event, at ends) string {
	pod, port := at[0]+"/"+at[2]+"/"+at[3]+"/"+at[5], e.Dst.Port()
	if e.Protocol == policy.ProtocolICMP || e.Protocol == policy.ProtocolICMPv6 {
		return ""
	}
	if m.ports[pod] == nil {
		if len(m.ports) >= maxSeries {
			return other
		}
		m.ports[pod] = map[uint16]bool{}
	}
	if !m.ports[pod][port] && len(m.ports[pod]) >= maxPorts {
		return other
	}
	m.ports[pod][port] = true
	return strconv.Itoa(int(port))
}

// prune forgets the ports of pods that are gone.
func (m denialMetrics) prune(there present) {
	for pod := range m.ports {
		at := strings.Split(pod, "/")
		if !there.has(ends{at[0], "", at[1], at[2], "", at[3]}) {
			delete(m.ports, pod)
		}
	}
}

// policyNames are "namespace/name" of the first few, by name; "" for none.
func policyNames(refs []policy.Ref) string {
	var names []string
	for _, r := range refs {
		if r.Name != "" {
			names = append(names, strings.TrimPrefix(clean(r.Namespace)+"/"+clean(r.Name), "/"))
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxPolicies {
		names = append(names[:maxPolicies], other)
	}
	return strings.Join(names, ",")
}
