package dashboards

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// alertCase has series under which an alert fires, and one series that, in the place of the one
// of its name, keeps it from firing. Values are those of every minute.
type alertCase struct {
	fires map[string]string
	quiet map[string]string
}

const up, down = "1+0x60", "0+0x60"

func alertCases() map[string]alertCase {
	one := func(series, fires, quiet string) alertCase {
		return alertCase{map[string]string{series: fires}, map[string]string{series: quiet}}
	}
	const node = `{instance="n1"}`
	compile := func(seconds string) map[string]string {
		return map[string]string{`septum_compile_seconds_bucket{le="` + seconds + `"}`: "0+10x60", `septum_compile_seconds_bucket{le="+Inf"}`: "0+10x60"}
	}
	held := func(le string) map[string]string {
		return map[string]string{`septum_enforcer_pod_start_held_seconds_bucket{instance="n1",le="` + le + `"}`: "0+10x60",
			`septum_enforcer_pod_start_held_seconds_bucket{instance="n1",le="30"}`: "0+10x60", `septum_enforcer_pod_start_held_seconds_bucket{instance="n1",le="+Inf"}`: "0+10x60"}
	}
	heldLong := held("5")
	heldLong[`septum_enforcer_pod_start_held_seconds_bucket{instance="n1",le="5"}`] = down
	compileLong := compile("1")
	compileLong[`septum_compile_seconds_bucket{le="1"}`] = down
	compileLong[`septum_compile_seconds_bucket{le="8"}`] = "0+10x60"
	return map[string]alertCase{
		"SeptumOperatorAway": one("septum_nodes_connected", "_x60", up),
		"SeptumNodesBehind": {
			map[string]string{`septum_nodes_connected{pod="a"}`: "2+0x60", `septum_nodes_connected{pod="b"}`: up, `septum_nodes_acked{pod="a"}`: "2+0x60", `septum_nodes_acked{pod="b"}`: down},
			map[string]string{`septum_nodes_acked{pod="b"}`: up},
		},
		"SeptumNodeNotConnected": {
			map[string]string{"septum_nodes_connected": up, `septum_enforcer_endpoints{instance="n1"}`: up, `septum_enforcer_endpoints{instance="n2"}`: up},
			map[string]string{"septum_nodes_connected": "2+0x60"},
		},
		"SeptumConfigurationRefused": one(`septum_nacks_total{type="NodeResource"}`, "0+1x60", "7+0x60"),
		"SeptumPolicyNotUnderstood":  one(`septum_problems{reason="Invalid",severity="error"}`, up, down),
		"SeptumStatusNotWritten":     one(`septum_status_writes_total{kind="L7NetworkPolicy",result="error"}`, "0+1x60", "9+0x60"),
		"SeptumCompilesSlow":         {compileLong, compile("1")},
		"SeptumPodsNotEnforced":      one("septum_enforcer_unenforced_endpoints"+node, up, down),
		"SeptumNodeProblem":          one(`septum_enforcer_problems{instance="n1",reason="ProxyNotAttached"}`, up, down),
		"SeptumMapNearlyFull": {
			map[string]string{`septum_enforcer_map_entries{instance="n1",map="tables"}`: "90+0x60", `septum_enforcer_map_max_entries{instance="n1",map="tables"}`: "100+0x60"},
			map[string]string{`septum_enforcer_map_entries{instance="n1",map="tables"}`: "70+0x60", `septum_enforcer_map_entries{instance="n1",map="conns"}`: "99+0x60", `septum_enforcer_map_max_entries{instance="n1",map="conns"}`: "99+0x60"},
		},
		"SeptumHooksMoved":    one("septum_enforcer_hooks_moved_total"+node, "0x50 1x10", "3+0x60"),
		"SeptumPodsSeenLate":  one("septum_enforcer_pods_seen_late_total"+node, "0x50 1x10", "3+0x60"),
		"SeptumPodStartsHeld": {heldLong, held("5")},
		"SeptumProxyNotReady": one("septum_enforcer_proxy_ready"+node, down, up),
		"SeptumProxyRestarts": one(`septum_enforcer_proxy_connects_total{instance="n1",proxy="envoy"}`, "0+1x60", "1+0x60"),
		"SeptumEnvoyHeapNearLimit": {
			map[string]string{"septum_envoy_allocated_bytes" + node: "95+0x60", "septum_envoy_heap_limit_bytes" + node: "100+0x60"},
			map[string]string{"septum_envoy_allocated_bytes" + node: "50+0x60"},
		},
		"SeptumConnectionsNotJudged": one("septum_enforcer_unjudged_connections_total"+node, "0+1x60", "5+0x60"),
		"SeptumEventsLost":           one(`septum_enforcer_lost_events_total{instance="n1",source="bpf"}`, "0+120x60", "0+6x60"),
		"SeptumDenialsMany":          one(`septum_denials_total{source_namespace="a",source_workload="b",destination_namespace="c",destination_workload="d"}`, "0+120x60", "0+6x60"),
		"SeptumFlowsOfNodesMissing":  one("septum_relay_nodes_unavailable_total", "0+1x60", "5+0x60"),
	}
}

// promtool runs Prometheus's tool.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	dir, err := exec.Command("../../hack/prometheus.sh").Output()
	if err != nil {
		t.Fatalf("get Prometheus: %v", err)
	}
	if out, err := exec.Command(filepath.Join(strings.TrimSpace(string(dir)), "promtool"), args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

const rulesFile = "../septum/files/rules/septum.yaml"

// TestAlerts has each alert fire, and not fire, in promtool.
func TestAlerts(t *testing.T) {
	promtool(t, "check", "rules", rulesFile)
	path, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	cases := alertCases()
	var tests []any
	for _, g := range Groups() {
		for _, r := range g.Rules {
			c, ok := cases[r.Alert]
			if !ok {
				t.Errorf("%s is not tested", r.Alert)
			}
			delete(cases, r.Alert)
			quiet := map[string]string{}
			for name, values := range c.fires {
				quiet[name] = values
			}
			for name, values := range c.quiet {
				quiet[name] = values
			}
			for firing, series := range []map[string]string{quiet, c.fires} {
				var input []any
				for name, values := range series {
					input = append(input, map[string]any{"series": name, "values": values})
				}
				tests = append(tests, map[string]any{
					"name": fmt.Sprintf("%s fires: %d", r.Alert, firing), "interval": "1m", "input_series": input,
					"promql_expr_test": []any{map[string]any{
						"expr": fmt.Sprintf(`count(ALERTS{alertname=%q,alertstate="firing"}) or vector(0)`, r.Alert), "eval_time": "55m",
						"exp_samples": []any{map[string]any{"labels": "{}", "value": firing}},
					}},
				})
			}
		}
	}
	for name := range cases {
		t.Errorf("there is no alert %s", name)
	}
	text, err := yaml.Marshal(map[string]any{"rule_files": []string{path}, "evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "alerts.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}

// TestRunbooks: each alert has a section that says what it means, what to look at and what to do.
func TestRunbooks(t *testing.T) {
	page, err := os.ReadFile("../../docs/runbooks.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range regexp.MustCompile(`(?m)^### `).Split(string(page), -1)[1:] {
		name, text, _ := strings.Cut(section, "\n")
		sections[name] = text
	}
	for _, g := range Groups() {
		for _, r := range g.Rules {
			for _, part := range []string{"**Means**", "**Look at**", "**Do**"} {
				if !strings.Contains(sections[r.Alert], part) {
					t.Errorf("docs/runbooks.md says nothing under %s of %s", part, r.Alert)
				}
			}
			delete(sections, r.Alert)
		}
	}
	for name := range sections {
		t.Errorf("docs/runbooks.md has a section of %s, which is no alert", name)
	}
}
