package dashboards

// septum is the dashboard about Septum itself.
func septum() Dashboard {
	return dashboard("septum", "Septum", "How Septum's operator, nodes, proxies and flows do.", []Variable{datasourceVariable()}, []row{
		{"State", []Panel{
			number("Nodes connected", "With a stream to the operator.", count, query{"sum(septum_nodes_connected)", "connected"}),
			number("Nodes up to date", "With the current policies in their data path.", count, query{"sum(septum_nodes_acked)", "up to date"}),
			number("Pods enforced", "Whose programs are attached.", count, query{"sum(septum_enforcer_attached_endpoints)", "pods"}),
			alarm("Pods not enforced", "Selected by a policy.", count, query{"sum(septum_enforcer_unenforced_endpoints)", "pods"}),
			alarm("Proxies not ready", "Nodes whose proxies do not hold the configuration in force.", count, query{"sum(1 - septum_enforcer_proxy_ready)", "nodes"}),
			alarm("Problems of policies", "Errors, not warnings; kubectl describe names them.", count, query{`sum(max by (reason) (septum_problems{severity="error"})) or vector(0)`, "problems"}),
		}},
		{"Operator", []Panel{
			graph("Compilations", "How often all policies were compiled, by all replicas.", perSecond, query{"sum(rate(septum_compile_seconds_count[$__rate_interval]))", "compilations"}),
			graph("Compile time", "To compile all policies and to serve the result.", seconds,
				query{"histogram_quantile(0.5, sum by (le) (rate(septum_compile_seconds_bucket[$__rate_interval])))", "p50"},
				query{"histogram_quantile(0.99, sum by (le) (rate(septum_compile_seconds_bucket[$__rate_interval])))", "p99"}),
			graph("Objects", "What the last compilation was made of, and made.", count, query{"max by (type) (septum_resources)", "{{type}}"}),
			graph("Resources sent to nodes", "", perSecond, query{"sum by (type) (rate(septum_pushed_resources_total[$__rate_interval]))", "{{type}}"}),
			graph("Refused by nodes", "", perSecond, query{"sum by (type) (rate(septum_nacks_total[$__rate_interval])) or vector(0)", "{{type}}"}),
			graph("Statuses written", "", perSecond, query{"sum by (kind, result) (rate(septum_status_writes_total[$__rate_interval]))", "{{kind}} {{result}}"}),
		}},
		{"Data path", []Panel{
			graph("Verdicts", "Connections (l4) and requests.", perSecond, query{"sum by (kind, verdict) (rate(septum_enforcer_verdicts_total[$__rate_interval]))", "{{kind}} {{verdict}}"}),
			graph("Dropped packets, by reason", "", perSecond, query{"sum by (reason) (rate(septum_enforcer_drops_total[$__rate_interval]))", "{{reason}}"}),
			graph("Events lost", "Verdicts that became no flow, as too many came at once; they were enforced.", perSecond,
				query{"sum by (source) (rate(septum_enforcer_lost_events_total[$__rate_interval])) or vector(0)", "{{source}}"}),
			graph("Maps in use", "Of their size, on the fullest node.", share, query{"max by (map) (septum_enforcer_map_entries / septum_enforcer_map_max_entries)", "{{map}}"}),
			graph("Hooks", "Attempts to attach that failed, programs of others that came before Septum's, and what was taken away and put back.", perSecond,
				query{"sum by (what) (rate(septum_enforcer_repairs_total[$__rate_interval]))", "{{what}} put back"},
				query{"sum(rate(septum_enforcer_attach_errors_total[$__rate_interval]))", "not attached"},
				query{"sum(rate(septum_enforcer_hooks_moved_total[$__rate_interval]))", "not first"}),
			graph("Problems of nodes", "", count, query{"sum by (reason) (septum_enforcer_problems) or vector(0)", "{{reason}}"}),
			graph("Connections not judged", "Gone on without their rules, as failurePolicy is Open.", perSecond, query{"sum(rate(septum_enforcer_unjudged_connections_total[$__rate_interval]))", "not judged"}),
			graph("Names learnt", "Addresses that pods were given for names in policies.", count, query{"sum by (instance) (septum_enforcer_learnt_addresses)", "{{instance}}"}),
			graph("Since the last change", "Age of the state in the data path.", seconds, query{"time() - septum_enforcer_last_applied_timestamp_seconds", "{{instance}}"}),
		}},
		{"Proxies", []Panel{
			graph("Connected", "1 while the proxy is.", count, query{"septum_enforcer_proxy_connected", "{{instance}} {{proxy}}"}),
			graph("Starts", "Of either proxy, on each node.", count, query{"increase(septum_enforcer_proxy_connects_total[$__rate_interval])", "{{instance}} {{proxy}}"}),
			graph("Envoy's heap", "At its limit Envoy refuses new requests.", memory,
				query{"septum_envoy_heap_bytes", "{{instance}}"}, query{"max(septum_envoy_heap_limit_bytes)", "limit"}),
			graph("Envoy's connections", "From clients.", count, query{"septum_envoy_connections", "{{instance}}"}),
			graph("Envoy's uptime", "", seconds, query{"septum_envoy_uptime_seconds", "{{instance}}"}),
			graph("Enforcer's memory", "", memory, query{"process_resident_memory_bytes and on (instance) septum_enforcer_endpoints", "{{instance}}"}),
		}},
		{"Flows of the cluster", []Panel{
			graph("Readers", "Clients of the operator's Hubble API.", count, query{"septum_relay_readers", "{{instance}}"}),
			graph("Flows", "Sent to readers, and told of as lost.", perSecond,
				query{"sum(rate(septum_relay_flows_sent_total[$__rate_interval]))", "sent"}, query{"sum(rate(septum_relay_flows_lost_total[$__rate_interval]))", "lost"}),
			graph("Nodes of the relay", "By the connection to them.", count, query{"max by (state) (septum_relay_nodes)", "{{state}}"}),
		}},
	})
}
