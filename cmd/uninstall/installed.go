package main

import (
	"context"
	"fmt"
	"net/http"
)

// workloads are what an installation runs, by resource and name.
func workloads() [][2]string {
	return [][2]string{{"deployments", "septum-operator"}, {"daemonsets", "septum-enforcer"}, {"daemonsets", "septum-proxy"}}
}

// workload is what a Deployment and a DaemonSet have in common here.
type workload struct {
	Metadata struct {
		Generation int64 `json:"generation"`
	} `json:"metadata"`
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		// Of a Deployment.
		Replicas        int `json:"replicas"`
		UpdatedReplicas int `json:"updatedReplicas"`
		ReadyReplicas   int `json:"readyReplicas"`
		// Of a DaemonSet.
		DesiredNumberScheduled int `json:"desiredNumberScheduled"`
		UpdatedNumberScheduled int `json:"updatedNumberScheduled"`
		NumberReady            int `json:"numberReady"`
	} `json:"status"`
}

// ready is true when all pods are there, as they are to be, and ready.
func (w workload) ready() (done bool, ready, desired int) {
	s := w.Status
	ready, desired = s.ReadyReplicas+s.NumberReady, s.Replicas+s.DesiredNumberScheduled
	updated := s.UpdatedReplicas + s.UpdatedNumberScheduled
	return s.ObservedGeneration >= w.Metadata.Generation && desired > 0 && ready >= desired && updated >= desired, ready, desired
}

// installed is true when the policies' kinds are served and everything runs.
func (a *api) installed(ctx context.Context) (bool, string, error) {
	if _, err := a.do(ctx, http.MethodGet, "/apis/septum.dev/v1alpha1", nil); err != nil {
		return false, "", fmt.Errorf("the kinds of septum.dev are not served: %w", err)
	}
	for _, each := range workloads() {
		var w workload
		if _, err := a.do(ctx, http.MethodGet, fmt.Sprintf("/apis/apps/v1/namespaces/%s/%s/%s", a.namespace, each[0], each[1]), &w); err != nil {
			return false, "", err
		}
		if done, ready, desired := w.ready(); !done {
			return false, fmt.Sprintf("%s: %d of %d pods are ready", each[1], ready, desired), nil
		}
	}
	return true, "", nil
}
