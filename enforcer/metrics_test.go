package enforcer

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/septum-dev/septum/policy"
)

func TestMetricsHandler(t *testing.T) {
	now := time.Unix(1000, 0)
	m := NewMetrics(prometheus.NewRegistry())
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		m.Handler(func() time.Time { return now }).ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	steps := []struct {
		name           string
		do             func()
		healthy, ready int
	}{
		{"nothing done yet", func() {}, 503, 503},
		{"the loop runs", func() { m.beat(now) }, 200, 503},
		{"a policy is in force", func() { m.applied(now, 3) }, 200, 200},
		{"the loop hangs", func() { now = now.Add(stale) }, 503, 200},
	}
	for _, s := range steps {
		s.do()
		if code, _ := get("/healthz"); code != s.healthy {
			t.Errorf("%s: /healthz is %d, want %d", s.name, code, s.healthy)
		}
		if code, _ := get("/readyz"); code != s.ready {
			t.Errorf("%s: /readyz is %d, want %d", s.name, code, s.ready)
		}
	}
	m.verdicts(kindHTTP, policy.Denied, 2)
	m.drops("spoofed", 4)
	m.Lost("envoy")
	_, text := get("/metrics")
	for _, want := range []string{
		`septum_enforcer_verdicts_total{kind="http",verdict="denied"} 2`, `septum_enforcer_drops_total{reason="spoofed"} 4`,
		`septum_enforcer_lost_events_total{source="envoy"} 1`, `septum_enforcer_endpoints 3`, `septum_enforcer_proxy_ready 0`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
