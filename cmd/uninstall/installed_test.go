package main

import (
	"maps"
	"testing"
)

func TestInstalled(t *testing.T) {
	const apps = "GET /apis/apps/v1/namespaces/septum-system/"
	whole := map[string]string{
		"GET /apis/septum.dev/v1alpha1":      `{}`,
		apps + "deployments/septum-operator": `{"metadata":{"generation":2},"status":{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"readyReplicas":2}}`,
		apps + "daemonsets/septum-enforcer":  `{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":2,"updatedNumberScheduled":2,"numberReady":2}}`,
		apps + "daemonsets/septum-proxy":     `{"metadata":{"generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":2,"updatedNumberScheduled":2,"numberReady":2}}`,
	}
	for name, tt := range map[string]struct {
		path, body string
		want       bool
		err        bool
	}{
		"everything":         {want: true},
		"a replica less":     {path: apps + "deployments/septum-operator", body: `{"metadata":{"generation":2},"status":{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"readyReplicas":1}}`},
		"not looked at yet":  {path: apps + "deployments/septum-operator", body: `{"metadata":{"generation":3},"status":{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"readyReplicas":2}}`},
		"an old enforcer":    {path: apps + "daemonsets/septum-enforcer", body: `{"status":{"desiredNumberScheduled":2,"updatedNumberScheduled":1,"numberReady":2}}`},
		"no node is chosen":  {path: apps + "daemonsets/septum-proxy", body: `{"status":{}}`},
		"no such kind":       {path: "GET /apis/septum.dev/v1alpha1", err: true},
		"no proxy installed": {path: apps + "daemonsets/septum-proxy", err: true},
	} {
		t.Run(name, func(t *testing.T) {
			bodies := maps.Clone(whole)
			if tt.path != "" {
				bodies[tt.path] = tt.body
			}
			if tt.err {
				delete(bodies, tt.path)
			}
			api, _ := serve(t, bodies)
			got, waiting, err := api.installed(t.Context())
			if got != tt.want || (err != nil) != tt.err {
				t.Errorf("installed() = %v, %q, %v; want %v", got, waiting, err, tt.want)
			}
		})
	}
}
