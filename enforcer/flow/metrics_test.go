package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/septum-dev/septum/policy"
)

func metrics() (*prometheus.Registry, *Metrics) {
	registry := prometheus.NewPedanticRegistry()
	return registry, NewMetrics(registry, func() time.Time { return noon })
}

// expect compares the series of a metric, without HELP and TYPE, and without labels that are empty.
func expect(t *testing.T, registry *prometheus.Registry, name string, want ...string) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				if l.GetValue() != "" {
					labels = append(labels, l.GetName()+"="+l.GetValue())
				}
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			got = append(got, fmt.Sprintf("%s %v", strings.Join(labels, " "), value))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const (
	atBackend = "destination_namespace=demo destination_pod=backend-5f destination_workload=backend "
	fromFront = "source_namespace=demo source_workload=frontend "
)

func TestHubbleMetrics(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	r.Add(request(policy.Forwarded, "GET", "/data", 200), nil)
	r.Add(request(policy.Denied, "M-\x1bX", "/data", 403), nil)
	r.Add(packet(policy.Denied, "policy", "203.0.113.9:5555"), nil)
	r.Add(packet(policy.Forwarded, "", "203.0.113.9:5555"), nil)
	expect(t, registry, "hubble_http_requests_total",
		atBackend+"method=GET protocol=HTTP/1.1 reporter=server "+fromFront+"status=200 1",
		atBackend+"method=other protocol=HTTP/1.1 reporter=server "+fromFront+"status=403 1")
	expect(t, registry, "septum_http_requests_started_total",
		atBackend+"method=GET protocol=HTTP/1.1 reporter=server source_namespace=demo source_workload=frontend verdict=forwarded 1",
		atBackend+"method=other protocol=HTTP/1.1 reporter=server source_namespace=demo source_workload=frontend verdict=dropped 1")
	expect(t, registry, "hubble_http_request_duration_seconds",
		"destination_namespace=demo destination_workload=backend method=GET reporter=server source_namespace=demo source_workload=frontend 1")
	expect(t, registry, "hubble_policy_verdicts_total",
		"action=dropped "+atBackend+"direction=ingress match=l7/http source_namespace=demo source_workload=frontend 1",
		"action=dropped "+atBackend+"direction=ingress match=none 1",
		"action=forwarded "+atBackend+"direction=ingress match=l7/http source_namespace=demo source_workload=frontend 1",
		"action=forwarded "+atBackend+"direction=ingress match=none 1")
	expect(t, registry, "hubble_drop_total",
		atBackend+"protocol=HTTP reason=POLICY_DENIED "+fromFront+"traffic_direction=ingress 1",
		atBackend+"protocol=TCP reason=POLICY_DENIED traffic_direction=ingress 1")
	expect(t, registry, "hubble_tcp_flags_total", atBackend+"family=IPv4 flag=SYN 1")
	expect(t, registry, "hubble_flows_processed_total",
		atBackend+"protocol=HTTP source_namespace=demo source_workload=frontend subtype=HTTP type=L7 verdict=DROPPED 1",
		atBackend+"protocol=HTTP source_namespace=demo source_workload=frontend subtype=HTTP type=L7 verdict=FORWARDED 2",
		atBackend+"protocol=TCP source_namespace=demo source_workload=frontend type=PolicyVerdict verdict=DROPPED 1",
		atBackend+"protocol=TCP subtype=POLICY_DENIED type=Drop verdict=DROPPED 1",
		atBackend+"protocol=TCP type=PolicyVerdict verdict=DROPPED 1",
		atBackend+"protocol=TCP type=PolicyVerdict verdict=FORWARDED 1")
}

// A request that goes on is counted as made when it is told of, and as answered when it ends;
// its verdict once.
func TestRequestThatGoesOn(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	e := request(policy.Audited, "GET", "/watch", 200)
	e.HTTP.GRPC = &policy.GRPCEvent{Status: -1}
	e.HTTP.Stage = policy.HTTPBegun
	r.Add(e, nil)
	expect(t, registry, "septum_http_requests_started_total", atBackend+"method=GET protocol=HTTP/1.1 reporter=server "+fromFront+"verdict=audit 1")
	expect(t, registry, "hubble_http_requests_total")
	expect(t, registry, "septum_grpc_requests_total")
	if got := len(r.all()); got != 2 {
		t.Errorf("%d flows of a request that begins, want its verdict and itself", got)
	}
	begun := *e.HTTP
	e.HTTP = &begun
	e.HTTP.Stage, e.HTTP.GRPC = policy.HTTPEnded, &policy.GRPCEvent{Status: 14}
	r.Add(e, nil)
	expect(t, registry, "septum_http_requests_started_total", atBackend+"method=GET protocol=HTTP/1.1 reporter=server "+fromFront+"verdict=audit 1")
	expect(t, registry, "hubble_http_requests_total", atBackend+"method=GET protocol=HTTP/1.1 reporter=server "+fromFront+"status=200 1")
	expect(t, registry, "septum_grpc_requests_total", atBackend+"reporter=server "+fromFront+"status=UNAVAILABLE verdict=audit 1")
	expect(t, registry, "hubble_policy_verdicts_total", "action=audit "+atBackend+"direction=ingress match=l7/http source_namespace=demo source_workload=frontend 1")
	if got := len(r.all()); got != 3 {
		t.Errorf("%d flows when it has ended, want its response too", got)
	}
}

func TestDNSMetrics(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	e := policy.Event{
		Source: policy.SourceProxy, Direction: policy.Egress, Verdict: policy.Forwarded, Protocol: policy.ProtocolUDP,
		Src: addrPort("10.0.0.1:5000"), Dst: addrPort("192.0.2.1:53"),
		DNS: &policy.DNSEvent{Name: "a.example", Type: 1, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, Aliases: []string{"b.example"}, Latency: time.Millisecond},
	}
	r.Add(e, nil)
	e.Verdict, e.DNS = policy.Denied, &policy.DNSEvent{Name: "evil.example", Type: 9999}
	r.Add(e, []policy.Ref{allow})
	const client = "source_namespace=demo source_pod=frontend-5f source_workload=frontend"
	expect(t, registry, "hubble_dns_queries_total",
		"ips_returned=0 qtypes=A "+client+" 1", "ips_returned=0 qtypes=other rcode=Policy denied "+client+" 1")
	expect(t, registry, "hubble_dns_responses_total", "ips_returned=1 qtypes=A rcode=No Error "+client+" 1")
	expect(t, registry, "hubble_dns_response_types_total", "qtypes=A "+client+" type=A 1", "qtypes=A "+client+" type=CNAME 1")
	expect(t, registry, "septum_dns_response_duration_seconds", "rcode=No Error source_namespace=demo source_workload=frontend 1")
	expect(t, registry, "septum_denials_total", "direction=egress kind=dns policy=demo/allow-get-products port=53 "+client+" 1")
}

func TestICMPMetrics(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	e := packet(policy.Forwarded, "", "10.0.0.1:0")
	e.Protocol, e.Dst = policy.ProtocolICMP, addrPort("10.0.0.2:2048")
	r.Add(e, nil)
	expect(t, registry, "hubble_icmp_total", atBackend+"family=IPv4 "+fromFront+"type=EchoRequest 1")
}

// Who was denied what, where, by which rule, since when.
func TestDenialMetrics(t *testing.T) {
	registry, m := metrics()
	r := recorder(t, Config{Metrics: m})
	e := request(policy.Denied, "GET", "/data", 403)
	e.Rule = policy.RuleID{Policy: allow, Path: "spec.ingressDeny[0]"}
	for i := range 3 {
		e.Time = noon.Add(time.Duration(i) * time.Minute)
		r.Add(e, nil)
	}
	labels := atBackend + "direction=ingress kind=http policy=demo/allow-get-products port=" + fmt.Sprint(e.Dst.Port()) + " rule=spec.ingressDeny[0] " + strings.TrimSpace(fromFront) + " "
	expect(t, registry, "septum_denials_total", labels+"3")
	expect(t, registry, "septum_denials_first_timestamp_seconds", labels+fmt.Sprint(float64(noon.Unix())))
	expect(t, registry, "septum_denials_last_timestamp_seconds", labels+fmt.Sprint(float64(noon.Unix()+120)))
}

// Who tries all ports of a pod has no series for each.
func TestDeniedPortsAreBounded(t *testing.T) {
	_, m := metrics()
	r := recorder(t, Config{Metrics: m})
	for port := range uint16(1000) {
		e := packet(policy.Denied, "policy", "203.0.113.9:5555")
		e.Dst = netip.AddrPortFrom(netip.MustParseAddr("10.0.0.2"), port+1)
		r.Add(e, nil)
	}
	if got := len(m.denials.total.all); got != maxPorts+1 {
		t.Errorf("%d series, want %d", got, maxPorts+1)
	}
}

// Names that keep coming must not fill the memory.
func TestSeriesAreBounded(t *testing.T) {
	_, m := metrics()
	for i := range maxSeries + 5 {
		m.verdicts.count(ends{}, "ingress", fmt.Sprint(i), "forwarded")
	}
	if got := len(m.verdicts.all); got != maxSeries+1 {
		t.Errorf("%d series, want %d", got, maxSeries+1)
	}
	rest, ok := m.verdicts.at(ends{other, other, other, other, other, other}, other, other, other).(prometheus.Counter)
	if !ok || testutil.ToFloat64(rest) != 5 {
		t.Errorf("%v are counted as %q, want 5", testutil.ToFloat64(rest), other)
	}
}

// The series of a pod that is gone go, once they have been there to be scraped.
func TestSeriesOfGonePods(t *testing.T) {
	now := noon
	registry := prometheus.NewPedanticRegistry()
	m := NewMetrics(registry, func() time.Time { return now })
	r := recorder(t, Config{Metrics: m})
	r.Add(request(policy.Forwarded, "GET", "/data", 200), nil)
	r.Add(packet(policy.Denied, "policy", "203.0.113.9:5555"), nil)
	steps := []struct {
		after time.Duration
		there policy.NodePolicy
		want  int
	}{
		{0, known(), 1},
		{time.Hour, known(), 1},
		{time.Minute, policy.NodePolicy{}, 1},
		{time.Minute, policy.NodePolicy{}, 1},
		{time.Minute, known(), 1}, // it is back
		{time.Minute, policy.NodePolicy{}, 1},
		{goneAfter, policy.NodePolicy{}, 0},
	}
	for i, s := range steps {
		now = now.Add(s.after)
		r.Know(s.there)
		for _, name := range []string{"hubble_http_requests_total", "hubble_http_request_duration_seconds", "septum_denials_total"} {
			got, err := testutil.GatherAndCount(registry, name)
			if err != nil || got != s.want {
				t.Errorf("step %d: %d series of %s, want %d; %v", i, got, name, s.want, err)
			}
		}
	}
	if len(m.denials.ports) != 0 {
		t.Error("the ports of a pod that is gone are kept")
	}
}
