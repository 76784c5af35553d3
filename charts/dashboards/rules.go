package dashboards

import "strings"

// Group is a group of alerting rules, as Prometheus reads it.
type Group struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rule is an alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for,omitempty"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// runbooks is where each alert has a section.
const runbooks = "https://github.com/septum-dev/septum/blob/main/docs/runbooks.md#"

const (
	critical = "critical"
	warning  = "warning"
	info     = "info"
)

func alert(name, severity, expr, lasts, summary, description string) Rule {
	return Rule{
		Alert: name, Expr: expr, For: lasts, Labels: map[string]string{"severity": severity},
		Annotations: map[string]string{"summary": summary, "description": description, "runbook_url": runbooks + strings.ToLower(name)},
	}
}

// Groups are all rules. That a component is away is seen by what it would say, and not by the
// name of a scrape job.
func Groups() []Group {
	return []Group{
		{Name: "septum-operator", Rules: operatorRules()},
		{Name: "septum-nodes", Rules: nodeRules()},
		{Name: "septum-proxies", Rules: proxyRules()},
		{Name: "septum-flows", Rules: flowRules()},
	}
}

func operatorRules() []Rule {
	return []Rule{
		alert("SeptumOperatorAway", critical, "absent(septum_nodes_connected)", "5m",
			"No Septum operator is scraped.", "Nodes go on enforcing what they have; changed policies and new pods wait."),
		alert("SeptumNodesBehind", warning, "sum(septum_nodes_connected) - sum(septum_nodes_acked) > 0", "10m",
			"{{ $value }} nodes have not got the current policies into their data path.", "They enforce older ones."),
		alert("SeptumNodeNotConnected", warning, "count(septum_enforcer_endpoints) > sum(septum_nodes_connected)", "10m",
			"Enforcers run that are not connected to the operator.", "They go on enforcing what they have; changes do not reach them."),
		alert("SeptumConfigurationRefused", warning, "sum by (type) (increase(septum_nacks_total[15m])) > 0", "",
			"A node has refused a {{ $labels.type }}.", "It keeps the last good state; a policy's condition Enforced says which."),
		alert("SeptumPolicyNotUnderstood", warning, `max by (reason) (septum_problems{severity="error"}) > 0`, "15m",
			"{{ $value }} problems of policies: {{ $labels.reason }}.", "What a policy says and Septum cannot enforce is closed."),
		alert("SeptumStatusNotWritten", warning, `sum by (kind) (increase(septum_status_writes_total{result="error"}[15m])) > 5`, "",
			"Statuses of {{ $labels.kind }} could not be written.", "What kubectl shows of policies may be old; what is enforced is not."),
		alert("SeptumCompilesSlow", info, "histogram_quantile(0.99, sum by (le) (rate(septum_compile_seconds_bucket[15m]))) > 5", "15m",
			"Compiling the policies takes {{ $value | humanizeDuration }}.", "Changes reach nodes late."),
	}
}

func nodeRules() []Rule {
	return []Rule{
		alert("SeptumPodsNotEnforced", critical, "septum_enforcer_unenforced_endpoints > 0", "5m",
			"{{ $value }} pods on {{ $labels.instance }} are selected by a policy and not enforced.", "The policy's condition Enforced names them."),
		alert("SeptumNodeProblem", warning, "sum by (instance, reason) (septum_enforcer_problems) > 0", "10m",
			"{{ $labels.instance }} does not enforce as it should: {{ $labels.reason }}.", "The enforcer's log and the policies' conditions have the message."),
		alert("SeptumMapNearlyFull", warning, `septum_enforcer_map_entries{map!~"conns|datagrams"} / septum_enforcer_map_max_entries > 0.8`, "10m",
			"The map {{ $labels.map }} of {{ $labels.instance }} is {{ $value | humanizePercentage }} full.", "A policy that does not fit is not put in force: the node keeps the last one."),
		alert("SeptumHooksMoved", warning, "increase(septum_enforcer_hooks_moved_total[15m]) > 0", "",
			"Another program came before Septum's on {{ $labels.instance }}.", "Until it was put behind, within a second or two, it could have let traffic past policy."),
		alert("SeptumPodsSeenLate", warning, "increase(septum_enforcer_pods_seen_late_total[15m]) > 0", "",
			"Policed pods started on {{ $labels.instance }} before their policy was in force.", "No CNI plugin held them."),
		alert("SeptumPodStartsHeld", warning, "histogram_quantile(0.9, sum by (instance, le) (rate(septum_enforcer_pod_start_held_seconds_bucket[15m]))) > 5", "5m",
			"Pods on {{ $labels.instance }} are held {{ $value | humanizeDuration }} before they start.", "They wait for their policy."),
	}
}

func proxyRules() []Rule {
	return []Rule{
		alert("SeptumProxyNotReady", critical, "septum_enforcer_proxy_ready == 0", "3m",
			"The proxies of {{ $labels.instance }} do not hold the configuration in force.", "If they are away, connections with layer 7 rules are refused, or go on unjudged with failurePolicy Open."),
		alert("SeptumProxyRestarts", warning, "increase(septum_enforcer_proxy_connects_total[30m]) > 3", "",
			"The proxy {{ $labels.proxy }} of {{ $labels.instance }} has started {{ $value | humanize }} times in half an hour.", "Each start ends its open connections."),
		alert("SeptumEnvoyHeapNearLimit", warning, "septum_envoy_allocated_bytes / septum_envoy_heap_limit_bytes > 0.9", "5m",
			"Envoy on {{ $labels.instance }} uses {{ $value | humanizePercentage }} of its heap.", "At the limit it refuses new requests."),
		alert("SeptumConnectionsNotJudged", critical, "increase(septum_enforcer_unjudged_connections_total[5m]) > 0", "",
			"Connections on {{ $labels.instance }} went on without their layer 7 rules.", "Their policies say failurePolicy: Open, and the proxy could not judge them."),
	}
}

func flowRules() []Rule {
	return []Rule{
		alert("SeptumEventsLost", info, "sum by (instance, source) (rate(septum_enforcer_lost_events_total[5m])) > 1", "10m",
			"{{ $labels.instance }} loses {{ $value | humanize }} events a second.", "Flows and metrics miss them; they were enforced."),
		alert("SeptumDenialsMany", info,
			"sum by (source_namespace, source_workload, destination_namespace, destination_workload) (rate(septum_denials_total[5m])) > 1", "15m",
			"{{ $labels.source_namespace }}/{{ $labels.source_workload }} is denied {{ $labels.destination_namespace }}/{{ $labels.destination_workload }}, {{ $value | humanize }} times a second.",
			"A policy that is too narrow, or a pod that tries what it should not."),
		alert("SeptumFlowsOfNodesMissing", info, "sum(increase(septum_relay_nodes_unavailable_total[15m])) > 0", "",
			"Nodes did not answer who read the cluster's flows.", "What is read lacks their flows."),
	}
}
