package envoy

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Envoy's own statistics are there while it answers; that it does not is said as well.
func TestStats(t *testing.T) {
	e := startEnvoy(t, echo(t, nil))
	// Envoy counts its memory every few seconds.
	waitFor(t, "Envoy's memory", func() bool {
		values, err := NewStats(e.admin, 0).ask()
		return err == nil && values["server.memory_heap_size"] > 1<<20
	})
	for _, tt := range []struct {
		socket string
		up     float64
		want   []string
	}{
		{e.admin, 1, []string{"septum_envoy_allocated_bytes", "septum_envoy_connections", "septum_envoy_heap_bytes", "septum_envoy_heap_limit_bytes", "septum_envoy_up", "septum_envoy_uptime_seconds"}},
		{filepath.Join(t.TempDir(), "none"), 0, []string{"septum_envoy_heap_limit_bytes", "septum_envoy_up"}},
	} {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(NewStats(tt.socket, 5<<20))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, f := range families {
			names = append(names, f.GetName())
			if value := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "septum_envoy_up" && value != tt.up {
				t.Errorf("%s is %v", f.GetName(), value)
			}
		}
		if !slices.Equal(names, tt.want) {
			t.Errorf("metrics %v, want %v", names, tt.want)
		}
	}
}
