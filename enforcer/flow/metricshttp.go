package flow

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

// httpMetrics count requests twice: when they are made, and when they were answered.
type httpMetrics struct{ started, requests, durations *series }

func newHTTPMetrics() httpMetrics {
	return httpMetrics{
		started: counters("septum", "http_requests_started_total",
			"HTTP requests that were made, answered or not: when they end, or after 10 s if they go on.", "method", "protocol", "verdict", "reporter"),
		requests: counters("hubble", "http_requests_total", "HTTP requests that ended, by the status of their answer; none if there was no answer.",
			"method", "protocol", "status", "reporter"),
		durations: histograms("hubble", "http_request_duration_seconds", "Time from an HTTP request to the first byte of its answer.",
			prometheus.DefBuckets, "method", "reporter"),
	}
}

func (m httpMetrics) observe(e policy.Event, at ends) {
	method, version, reporter := methodLabel(e.HTTP.Method), versionLabel(e.HTTP.Version), reporterOf(e.Direction)
	if e.HTTP.Stage != policy.HTTPEnded {
		m.started.count(at, method, version, actionName(e.Verdict), reporter)
	}
	if e.HTTP.Stage == policy.HTTPBegun {
		return
	}
	status := ""
	if e.HTTP.Code > 0 && e.HTTP.Code < 1000 {
		status = strconv.Itoa(e.HTTP.Code)
	}
	m.requests.count(at, method, version, status, reporter)
	if status == "" || e.Verdict == policy.Denied {
		return
	}
	at[2], at[5] = "", "" // a histogram has too many series for each pod
	m.durations.observe(at, e.HTTP.Latency.Seconds(), method, reporter)
}

// observeGRPC counts a gRPC request when it has ended.
func (m *Metrics) observeGRPC(e policy.Event, at ends) {
	if e.HTTP.GRPC == nil || e.HTTP.Stage == policy.HTTPBegun {
		return
	}
	m.grpc.count(at, e.HTTP.GRPC.Name(), actionName(e.Verdict), reporterOf(e.Direction))
}

// methodLabel is a method that is registered, or "other": the text is the client's.
func methodLabel(method string) string {
	switch method {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH":
		return method
	}
	return other
}

func versionLabel(version string) string {
	switch version {
	case "HTTP/1.0", "HTTP/1.1", "HTTP/2":
		return version
	}
	return ""
}

// icmpName is the name that Hubble has for an ICMP message; others have their number.
func icmpName(p policy.Protocol, kind uint8) string {
	names := map[uint8]string{0: "EchoReply", 3: "DestinationUnreachable", 5: "Redirect", 8: "EchoRequest", 11: "TimeExceeded"}
	if p == policy.ProtocolICMPv6 {
		names = map[uint8]string{
			1: "DestinationUnreachable", 2: "PacketTooBig", 3: "TimeExceeded", 128: "EchoRequest", 129: "EchoReply",
			133: "RouterSolicitation", 134: "RouterAdvertisement", 135: "NeighborSolicitation", 136: "NeighborAdvertisement", 137: "Redirect",
		}
	}
	if name, ok := names[kind]; ok {
		return name
	}
	return strconv.Itoa(int(kind))
}
