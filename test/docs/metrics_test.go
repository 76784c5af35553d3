package docs

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/septum-dev/septum/controllers"
	"github.com/septum-dev/septum/enforcer"
	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/relay"
	"github.com/septum-dev/septum/xds/envoy"
)

var update = flag.Bool("update", false, "rewrite docs/metrics.md")

// metric is one line of the page.
type metric struct{ name, kind, labels, help string }

// recorder takes the place of a registry, and keeps what it is given.
type recorder struct {
	*prometheus.Registry
	t     *testing.T
	found map[string]metric
}

func (r recorder) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 256)
	c.Describe(descs)
	close(descs)
	shape := regexp.MustCompile(`^Desc\{fqName: "(\w+)", help: "(.*?)"(?:, unit: "[^"]*")?, constLabels: \{\}, variableLabels: \{([^}]*)\}`)
	for d := range descs {
		m := shape.FindStringSubmatch(d.String())
		if m == nil {
			r.t.Errorf("a description is not understood: %s", d)
			continue
		}
		labels := strings.Split(m[3], ",")
		slices.Sort(labels)
		r.found[m[1]] = metric{m[1], kindOf(m[1]), strings.Join(labels, ", "), strings.ReplaceAll(m[2], `\"`, `"`)}
	}
	return r.Registry.Register(c)
}

func (r recorder) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		if err := r.Register(c); err != nil {
			r.t.Fatal(err)
		}
	}
}

// kindOf is a metric's type by its name; test/panels holds it to what the processes serve.
func kindOf(name string) string {
	switch {
	case strings.HasSuffix(name, "_total"):
		return "counter"
	case strings.HasSuffix(name, "_duration_seconds"), name == "septum_compile_seconds", strings.HasSuffix(name, "_held_seconds"):
		return "histogram"
	}
	return "gauge"
}

// TestMetricsPage compares docs/metrics.md with the metrics that the processes register.
func TestMetricsPage(t *testing.T) {
	const page = root + "/docs/metrics.md"
	text := metricsIntro
	for _, part := range []struct {
		title    string
		register func(recorder) error
	}{
		{"Flows and requests (each enforcer)", func(r recorder) error {
			flow.NewMetrics(r, time.Now)
			return nil
		}},
		{"Nodes (each enforcer)", func(r recorder) error {
			enforcer.NewMetrics(r)
			return nil
		}},
		{"Envoy (each enforcer, which asks it)", func(r recorder) error { return r.Register(envoy.NewStats("", 0)) }},
		{"Operator", func(r recorder) error { return controllers.RegisterMetrics(r) }},
		{"Flows of the cluster (operator)", func(r recorder) error {
			_, err := relay.New(relay.Config{
				Metrics: r, Nodes: func(context.Context) ([]relay.Node, error) { return nil, nil },
				Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
			})
			return err
		}},
	} {
		r := recorder{prometheus.NewRegistry(), t, map[string]metric{}}
		if err := part.register(r); err != nil {
			t.Fatal(err)
		}
		if len(r.found) < 5 {
			t.Errorf("%s: only %d metrics", part.title, len(r.found))
		}
		text += "\n## " + part.title + "\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n"
		names := make([]string, 0, len(r.found))
		for name := range r.found {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			m := r.found[name]
			text += fmt.Sprintf("| `%s` | %s | %s | %s |\n", m.name, m.kind, ends(m.labels), m.help)
		}
	}
	if *update {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(have), "\n"), strings.Split(text, "\n")); diff != "" {
		t.Errorf("docs/metrics.md is not what is registered (-page +now); \"go test ./test/docs -update\" rewrites it:\n%s", diff)
	}
}

func bothEnds() []string {
	return []string{"destination_namespace", "destination_pod", "destination_workload", "source_namespace", "source_pod", "source_workload"}
}

// ends writes "both ends" for their six labels.
func ends(labels string) string {
	list := strings.Split(labels, ", ")
	if !slices.Contains(list, "source_namespace") {
		return labels
	}
	list = slices.DeleteFunc(list, func(l string) bool { return slices.Contains(bothEnds(), l) })
	return strings.Join(append(list, "both ends"), ", ")
}

const metricsIntro = `# Metrics

Made by "go test ./test/docs -update" of what the processes register. Enforcers serve them on port 9965 of their nodes,
the operator on port 8080, under /metrics; both also have Go's own and those of the process (go_…, process_…).

- **Both ends** of flows are source_ and destination_ with namespace, workload and pod. Only the end whose policy was
  asked has its pod's name: the number of a node's pods is bounded, that of their peers is not. What is no pod has
  empty labels. Histograms have no pods. The reporter is "server" for what an ingress policy judged, "client" for egress.
- **Bounds.** Each metric has at most 10,000 series on a node; what comes after them is counted with "other" in all
  labels. Methods, ICMP types, DNS types and codes that are not common are "other"; of the ports that a pod
  was denied, 32 are told apart, and of Kafka's topics the first 1,000 that are allowed and 100 that are denied. Five minutes after a pod or workload is gone, its series are.
- **Requests are counted when they are made** in septum_http_requests_started_total: when they end, or after 10 seconds
  if they go on (Envoy's access log tells of open requests every 10 seconds). hubble_http_requests_total counts them
  when they end, as Hubble does. The difference are those that are open.
`
