package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	podDir = "/var/run/secrets/kubernetes.io/serviceaccount"
	// cleanupSet is the DaemonSet whose pods clean their nodes.
	cleanupSet = "septum-cleanup"
	// running selects the pods that hold a node's data path.
	running = "app.kubernetes.io/name=septum,app.kubernetes.io/component in (enforcer,proxy)"
)

// api is the API server as a pod sees it.
type api struct {
	client    *http.Client
	base      string
	token     string
	namespace string
}

func inCluster(namespace string) (*api, error) {
	token, err := os.ReadFile(podDir + "/token")
	if err != nil {
		return nil, fmt.Errorf("read the service account's token: %w", err)
	}
	ca, err := os.ReadFile(podDir + "/ca.crt")
	if err != nil {
		return nil, fmt.Errorf("read the cluster's certificate authority: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("no certificate in %s/ca.crt", podDir)
	}
	host := net.JoinHostPort(os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"))
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	return &api{
		client:    &http.Client{Transport: transport, Timeout: 10 * time.Second},
		base:      "https://" + host,
		token:     strings.TrimSpace(string(token)),
		namespace: namespace,
	}, nil
}

// stopped is true when no pod of the enforcer and the proxy is left.
func (a *api) stopped(ctx context.Context) (bool, string, error) {
	var pods struct {
		Items []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
		} `json:"items"`
	}
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods?labelSelector=%s", a.namespace, url.QueryEscape(running))
	if _, err := a.do(ctx, http.MethodGet, path, &pods); err != nil {
		return false, "", err
	}
	return len(pods.Items) == 0, fmt.Sprintf("%d pods to stop", len(pods.Items)), nil
}

// clean is true when the cleanup has run on every node.
func (a *api) clean(ctx context.Context) (bool, string, error) {
	var set struct {
		Metadata struct {
			Generation int64 `json:"generation"`
		} `json:"metadata"`
		Status struct {
			ObservedGeneration     int64 `json:"observedGeneration"`
			DesiredNumberScheduled int   `json:"desiredNumberScheduled"`
			NumberReady            int   `json:"numberReady"`
		} `json:"status"`
	}
	path := fmt.Sprintf("/apis/apps/v1/namespaces/%s/daemonsets/%s", a.namespace, cleanupSet)
	if _, err := a.do(ctx, http.MethodGet, path, &set); err != nil {
		return false, "", err
	}
	if set.Status.ObservedGeneration < set.Metadata.Generation {
		return false, "the DaemonSet controller", nil
	}
	ready, desired := set.Status.NumberReady, set.Status.DesiredNumberScheduled
	return ready >= desired, fmt.Sprintf("%d of %d nodes clean", ready, desired), nil
}

// removeWritten deletes what the operator made at run time, which Helm does not know.
func (a *api) removeWritten(ctx context.Context) error {
	for _, path := range []string{
		"/api/v1/namespaces/" + a.namespace + "/secrets/septum-ca",
		"/api/v1/namespaces/" + a.namespace + "/secrets/septum-flow-reader",
		"/api/v1/namespaces/" + a.namespace + "/configmaps/septum-ca",
		"/apis/coordination.k8s.io/v1/namespaces/" + a.namespace + "/leases/septum-operator",
	} {
		status, err := a.do(ctx, http.MethodDelete, path, nil)
		if err != nil && status != http.StatusNotFound {
			return err
		}
	}
	return nil
}

// do makes a request and decodes the answer into out, if out is not nil. The status is 0 if there was no answer.
func (a *api) do(ctx context.Context, method, path string, out any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+a.token)
	resp, err := a.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		return resp.StatusCode, fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	if out == nil {
		return resp.StatusCode, nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return resp.StatusCode, fmt.Errorf("read the answer to %s %s: %w", method, path, err)
	}
	return resp.StatusCode, nil
}
