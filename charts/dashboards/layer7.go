package dashboards

import "strings"

// scope is what a dashboard on layer 7 is about: the labels that choose it and name its parts.
type scope struct {
	// labels are "namespace", and "workload" where it is about workloads.
	labels []string
}

// to and from select what goes to the chosen ends, and comes from them.
func (s scope) to(more ...string) string   { return s.selector("destination", more) }
func (s scope) from(more ...string) string { return s.selector("source", more) }

func (s scope) selector(end string, more []string) string {
	var parts []string
	for _, l := range s.labels {
		parts = append(parts, end+"_"+l+`=~"$`+l+`"`)
	}
	return "{" + strings.Join(append(parts, more...), ",") + "}"
}

// All are the dashboards.
func All() []Dashboard {
	namespace := namesOf("namespace", "Namespace", `source_namespace!=""`, `destination_namespace!=""`)
	workload := namesOf("workload", "Workload", `source_namespace=~"$namespace",source_workload!=""`, `destination_namespace=~"$namespace",destination_workload!=""`)
	return []Dashboard{
		dashboard("septum-l7-namespace", "Kubernetes / Networking / L7 (Namespace)",
			"Requests and verdicts of a namespace's pods, as Septum's nodes saw them.",
			[]Variable{datasourceVariable(), namespace}, layer7(scope{[]string{"namespace"}})),
		dashboard("septum-l7-workload", "Kubernetes / Networking / L7 (Workload)",
			"Requests and verdicts of a workload's pods, as Septum's nodes saw them.",
			[]Variable{datasourceVariable(), namespace, workload}, layer7(scope{[]string{"namespace", "workload"}})),
		septum(),
	}
}

const (
	served  = `reporter="server"`
	asked   = `reporter="client"`
	ingress = `direction="ingress"`
	egress  = `direction="egress"`
	client  = "{{source_namespace}}/{{source_workload}}"
	server  = "{{destination_namespace}}/{{destination_workload}}"
)

func layer7(s scope) []row {
	return []row{
		{"Denied", denied(s)},
		{"HTTP to the pods", http(s.to, served, ingress, "destination_pod", "source_namespace, source_workload", client, "clients")},
		{"HTTP from the pods", http(s.from, asked, egress, "source_pod", "destination_namespace, destination_workload", server, "servers")},
		{"gRPC", grpc(s)},
		{"Kafka", kafka(s)},
		{"DNS", dns(s)},
	}
}

// either is an expression of what goes to the pods and what comes from them, each where the
// policy of these pods judged it.
func either(s scope, metric string, toWhere, fromWhere string, more ...string) string {
	return "rate(" + metric + s.to(append([]string{toWhere}, more...)...) + "[$__rate_interval]) or rate(" + metric + s.from(append([]string{fromWhere}, more...)...) + "[$__rate_interval])"
}

// denied answers who was denied what, where, by which rule, since when.
func denied(s scope) []Panel {
	const by = "(source_namespace, source_workload, destination_namespace, destination_workload, destination_pod, source_pod, kind, port, direction, policy, rule)"
	both := func(metric string) string { return metric + s.to(ingress) + " or " + metric + s.from(egress) }
	table := panel("table", "Who was denied what, where, by which rule, since when",
		"Each line is one client, server, protocol and port that a policy denied. No rule: none of the policies' rules allowed it. Paths and names are in the flows and in kubectl get l7policystatus.", count,
		query{"sum by " + by + " (" + both("septum_denials_total") + ")", ""},
		query{"min by " + by + " (" + both("septum_denials_first_timestamp_seconds") + ") * 1000", ""},
		query{"max by " + by + " (" + both("septum_denials_last_timestamp_seconds") + ") * 1000", ""},
	)
	for i := range table.Targets {
		table.Targets[i].Instant, table.Targets[i].Range, table.Targets[i].Format = true, false, "table"
	}
	table.Transformations = []Transformation{
		{ID: "merge", Options: map[string]any{}},
		{ID: "organize", Options: map[string]any{
			"excludeByName": map[string]any{"Time": true},
			"renameByName":  map[string]any{"Value #A": "Denied", "Value #B": "First", "Value #C": "Last"},
		}},
	}
	for _, name := range []string{"First", "Last"} {
		table.FieldConfig.Overrides = append(table.FieldConfig.Overrides, Override{
			Matcher: Matcher{ID: "byName", Options: name}, Properties: []Property{{ID: "unit", Value: ago}},
		})
	}
	return []Panel{
		wide(table),
		graph("Denied", "Connections and requests that a policy denied, by what they were.", perSecond,
			query{"sum by (kind) (" + either(s, "septum_denials_total", ingress, egress) + ")", "{{kind}}"}),
		graph("Dropped flows", "By reason: beside the policy's denials also packets that Septum could not judge.", perSecond,
			query{"sum by (reason, protocol) (" + either(s, "hubble_drop_total", `traffic_direction="ingress"`, `traffic_direction="egress"`) + ")", "{{reason}} {{protocol}}"}),
		graph("Verdicts", "Connections and requests that a policy decided on.", perSecond,
			query{"sum by (action) (" + either(s, "hubble_policy_verdicts_total", ingress, egress) + ")", "{{action}}"}),
	}
}

// http is about requests in one direction: those that sel selects, seen by the reporter; pod
// is the label of the end whose policy judged, and the peers are the other ends.
func http(sel func(...string) string, reporter, direction, pod, peers, peer, words string) []Panel {
	made, ended, latency := "septum_http_requests_started_total"+sel(reporter), "hubble_http_requests_total", "hubble_http_request_duration_seconds_bucket"+sel(reporter)
	quantile := func(q, name string) query {
		return query{"histogram_quantile(" + q + ", sum by (le) (rate(" + latency + "[$__rate_interval])))", name}
	}
	return []Panel{
		graph("Requests made, by method", "Answered or not: one that goes on is counted after 10 s.", requestsPerSecond,
			query{"sum by (method) (rate(" + made + "[$__rate_interval]))", "{{method}}"}),
		graph("Requests answered, by status", "", requestsPerSecond,
			query{"sum by (status) (rate(" + ended + sel(reporter) + "[$__rate_interval]))", "{{status}}"}),
		graph("Verdicts", "Forwarded, dropped, or let through in audit mode.", requestsPerSecond,
			query{"sum by (action) (rate(hubble_policy_verdicts_total" + sel(`match="l7/http"`, direction) + "[$__rate_interval]))", "{{action}}"}),
		graph("Latency", "From a request to the first byte of its answer, of requests that were let through.", seconds,
			quantile("0.5", "p50"), quantile("0.95", "p95"), quantile("0.99", "p99")),
		buckets("Latency, all requests", "", seconds, "sum by (le) (increase("+latency+"[$__rate_interval]))"),
		graph("Requests that go on", "Made, and not ended yet.", count,
			query{"sum(" + made + ") - sum(" + ended + sel(reporter) + ")", "open"}),
		heat("Answers 4xx, by pod", "", count,
			query{"sum by (" + pod + ") (increase(" + ended + sel(reporter, `status=~"4.."`) + "[$__rate_interval]))", "{{" + pod + "}}"}),
		heat("Dropped requests, by pod", "", count,
			query{"sum by (" + pod + ") (increase(hubble_drop_total" + sel(`protocol="HTTP"`, "traffic_"+direction) + "[$__rate_interval]))", "{{" + pod + "}}"}),
		top("Top "+words, "Requests in the range of time that is shown.", count,
			query{"topk(10, sum by (" + peers + ") (increase(" + made + "[$__range])))", peer}),
	}
}

func grpc(s scope) []Panel {
	return []Panel{
		graph("gRPC requests, by status", "Requests that ended; without a status where the answer had none.", requestsPerSecond,
			query{"sum by (status, reporter) (" + either(s, "septum_grpc_requests_total", served, asked) + ")", "{{reporter}} {{status}}"}),
		graph("gRPC verdicts", "", requestsPerSecond,
			query{"sum by (verdict, reporter) (" + either(s, "septum_grpc_requests_total", served, asked) + ")", "{{reporter}} {{verdict}}"}),
		top("Top gRPC clients", "Requests in the range of time that is shown.", count,
			query{"topk(10, sum by (source_namespace, source_workload) (increase(septum_grpc_requests_total" + s.to(served) + "[$__range])))", client}),
	}
}

func kafka(s scope) []Panel {
	return []Panel{
		graph("Kafka requests, by key", "Once for each topic.", requestsPerSecond,
			query{"sum by (api_key, reporter) (" + either(s, "hubble_kafka_requests_total", served, asked) + ")", "{{reporter}} {{api_key}}"}),
		graph("Kafka requests, by topic", "", requestsPerSecond,
			query{"sum by (topic) (" + either(s, "hubble_kafka_requests_total", served, asked, `topic!=""`) + ")", "{{topic}}"}),
		graph("Kafka verdicts", "", requestsPerSecond,
			query{"sum by (action) (" + either(s, "hubble_policy_verdicts_total", ingress, egress, `match="l7/kafka"`) + ")", "{{action}}"}),
	}
}

func dns(s scope) []Panel {
	latency := "septum_dns_response_duration_seconds_bucket" + s.from()
	return []Panel{
		graph("DNS questions, by type", "", requestsPerSecond,
			query{"sum by (qtypes) (rate(hubble_dns_queries_total" + s.from() + "[$__rate_interval]))", "{{qtypes}}"}),
		graph("DNS answers, by code", "", requestsPerSecond,
			query{"sum by (rcode) (rate(hubble_dns_responses_total" + s.from() + "[$__rate_interval]))", "{{rcode}}"}),
		graph("DNS verdicts", "Questions that a policy refused are dropped.", requestsPerSecond,
			query{"sum by (action) (rate(hubble_policy_verdicts_total" + s.from(egress, `match="l7/dns"`) + "[$__rate_interval]))", "{{action}}"}),
		graph("DNS latency", "From a question to its answer.", seconds,
			query{"histogram_quantile(0.5, sum by (le) (rate(" + latency + "[$__rate_interval])))", "p50"},
			query{"histogram_quantile(0.99, sum by (le) (rate(" + latency + "[$__rate_interval])))", "p99"}),
		heat("Refused questions, by pod", "", count,
			query{"sum by (source_pod) (increase(hubble_dns_queries_total" + s.from(`rcode="Policy denied"`) + "[$__rate_interval]))", "{{source_pod}}"}),
		top("Top DNS clients", "Questions in the range of time that is shown.", count,
			query{"topk(10, sum by (source_namespace, source_workload) (increase(hubble_dns_queries_total" + s.from() + "[$__range])))", client}),
	}
}
