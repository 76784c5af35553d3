package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestMonitoring: dashboards, monitors and rules are there when they are asked for, word for
// word, and the monitors choose what the chart makes.
func TestMonitoring(t *testing.T) {
	plain := render(t)
	for name := range plain {
		if strings.HasPrefix(name, "PodMonitor/") || strings.HasPrefix(name, "ServiceMonitor/") || strings.HasPrefix(name, "PrometheusRule/") || strings.HasPrefix(name, "ConfigMap/septum-dashboard") {
			t.Errorf("%s is there without being asked for", name)
		}
	}
	found := render(t, "--set", "monitoring.dashboards.enabled=true,monitoring.scrape.enabled=true,monitoring.rules.enabled=true",
		"--set", "monitoring.dashboards.labels.board=yes,monitoring.dashboards.namespace=grafana,monitoring.rules.labels.release=prom,monitoring.scrape.labels.release=prom")
	boards, err := filepath.Glob(chartDir + "/files/dashboards/*.json")
	if err != nil || len(boards) != 3 {
		t.Fatalf("dashboards %v, %v", boards, err)
	}
	for _, path := range boards {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Base(path)
		name := strings.TrimPrefix(strings.TrimSuffix(file, ".json"), "septum-")
		object := found["ConfigMap/septum-dashboard-"+name]
		if at(object, "data", file) != strings.TrimSpace(string(text)) {
			t.Errorf("the ConfigMap does not hold %s", path)
		}
		if at(object, "metadata", "labels", "board") != "yes" || at(object, "metadata", "namespace") != "grafana" {
			t.Errorf("%s has the metadata %v", path, object["metadata"])
		}
	}
	var rules any
	text, err := os.ReadFile(chartDir + "/files/rules/septum.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rules, found["PrometheusRule/septum"]["spec"]); diff != "" {
		t.Errorf("the rules differ from their file:\n%s", diff)
	}
	for _, c := range []struct {
		monitor, selected string
		labels            []string
	}{
		{"PodMonitor/septum-enforcer", "DaemonSet/septum-enforcer", []string{"spec", "template", "metadata", "labels"}},
		{"ServiceMonitor/septum-operator", "Service/septum-operator", []string{"metadata", "labels"}},
	} {
		wanted, ok := at(found[c.monitor], "spec", "selector", "matchLabels").(map[string]any)
		has, _ := at(found[c.selected], c.labels...).(map[string]any)
		if !ok || len(wanted) == 0 {
			t.Errorf("%s chooses everything", c.monitor)
		}
		for key, value := range wanted {
			if has[key] != value {
				t.Errorf("%s wants %s=%v, and %s has %v", c.monitor, key, value, c.selected, has[key])
			}
		}
		if at(found[c.monitor], "metadata", "labels", "release") != "prom" {
			t.Errorf("%s lacks the label that was set", c.monitor)
		}
	}
}
