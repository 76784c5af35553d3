package flow

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

// dnsMetrics count questions and their answers. Names are no labels: they are the client's
// words, and there is no end of them.
type dnsMetrics struct{ queries, responses, types, durations *series }

func newDNSMetrics() dnsMetrics {
	return dnsMetrics{
		queries: counters("hubble", "dns_queries_total", "DNS questions; one that was refused has the rcode \"Policy denied\", others none.",
			"rcode", "qtypes", "ips_returned"),
		responses: counters("hubble", "dns_responses_total", "DNS answers, by their code.", "rcode", "qtypes", "ips_returned"),
		types: counters("hubble", "dns_response_types_total", "DNS records that answers had of the types A, AAAA and CNAME, each type once an answer.",
			"type", "qtypes"),
		durations: histograms("septum", "dns_response_duration_seconds", "Time from a DNS question to its answer.", prometheus.DefBuckets, "rcode"),
	}
}

func (m dnsMetrics) observe(e policy.Event, at ends) {
	d := e.DNS
	question := questionLabel(d.Type)
	if e.Verdict == policy.Denied {
		m.queries.count(at, "Policy denied", question, "0")
		return
	}
	m.queries.count(at, "", question, "0")
	code := codeLabel(d.Code)
	m.responses.count(at, code, question, strconv.Itoa(min(len(d.Addrs), maxAddrs)))
	has := map[string]bool{"CNAME": len(d.Aliases) > 0}
	for _, a := range d.Addrs {
		has[map[bool]string{true: "A", false: "AAAA"}[a.Unmap().Is4()]] = true
	}
	for _, kind := range []string{"A", "AAAA", "CNAME"} {
		if has[kind] {
			m.types.count(at, kind, question)
		}
	}
	at[2], at[5] = "", ""
	m.durations.observe(at, d.Latency.Seconds(), code)
}

// maxAddrs is what an answer's addresses are counted up to.
const maxAddrs = 16

// questionLabel and codeLabel are words for what is common, and "other" for numbers that the
// client or a server may choose.
func questionLabel(t uint16) string {
	switch t {
	case 1, 2, 5, 6, 12, 15, 16, 28, 33, 65:
		return typeName(t)
	}
	return other
}

func codeLabel(c uint16) string {
	names := []string{"No Error", "Format Error", "Server Failure", "Non-Existent Domain", "Not Implemented", "Query Refused"}
	if int(c) < len(names) {
		return names[c]
	}
	return other
}
