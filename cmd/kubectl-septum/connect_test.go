package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/relay"
	"github.com/septum-dev/septum/xds"
)

// operator serves a node's flows as the operator does, and returns its address.
func operator(t *testing.T, ca *xds.CA, r *flow.Recorder) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	node, err := flow.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go r.Serve(ctx, node)
	all, err := relay.New(relay.Config{
		Nodes: func(context.Context) ([]relay.Node, error) {
			return []relay.Node{{Name: "node1", Address: node.Addr().String()}}, nil
		},
		Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
	})
	if err != nil {
		t.Fatal(err)
	}
	secured := &xds.FlowTLS{Authority: func() *xds.CA { return ca }, Names: []string{"septum-hubble-relay.septum-system.svc"}, Now: time.Now}
	l, err := flow.ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go all.Serve(ctx, l, credentials.NewTLS(secured.Server()))
	return l.Addr().String()
}

// apiServer has what "flows" asks for, and forwards ports to the operator.
func apiServer(t *testing.T, secret map[string][]byte, target string) string {
	t.Helper()
	const base = "/api/v1/namespaces/septum-system/"
	ready := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "septum-operator-1", Namespace: "septum-system"}}
	ready.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	ready.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "flows", ContainerPort: 4245}}}}
	dead := *ready.DeepCopy()
	dead.Name, dead.Status.Conditions = "septum-operator-0", nil
	resource := func(name, kind string) metav1.APIResource {
		return metav1.APIResource{Name: name, Kind: kind, Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}
	}
	answers := map[string]any{
		"/api":    metav1.APIVersions{TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"}},
		"/apis":   metav1.APIGroupList{TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}},
		"/api/v1": metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1", APIResources: []metav1.APIResource{resource("pods", "Pod"), resource("secrets", "Secret"), resource("services", "Service")}},
		base + "services/septum-hubble-relay": corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: relayService, Namespace: "septum-system"},
			Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "operator"}, Ports: []corev1.ServicePort{{Port: 443, TargetPort: intstr.FromString("flows")}}}},
		base + "pods": corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{dead, ready}},
	}
	if secret != nil {
		answers[base+"secrets/septum-flow-reader"] = corev1.Secret{TypeMeta: metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Name: readerSecret, Namespace: "septum-system"}, Data: secret}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == base+"pods/septum-operator-1/portforward" {
			forwardTo(t, w, req, target)
			return
		}
		answer, ok := answers[req.URL.Path]
		w.Header().Set("Content-Type", "application/json")
		if !ok {
			answer = metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound}
			w.WriteHeader(http.StatusNotFound)
		}
		json.NewEncoder(w).Encode(answer)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// forwardTo is what a kubelet does for "kubectl port-forward".
func forwardTo(t *testing.T, w http.ResponseWriter, req *http.Request, target string) {
	if req.Method != http.MethodPost {
		http.Error(w, "only SPDY is spoken here", http.StatusBadRequest) // as older servers say to a WebSocket
		return
	}
	if _, err := httpstream.Handshake(req, w, []string{"portforward.k8s.io"}); err != nil {
		t.Error(err)
		return
	}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, req, func(s httpstream.Stream, _ <-chan struct{}) error {
		if s.Headers().Get(corev1.StreamType) != corev1.StreamTypeData {
			return nil
		}
		if port := s.Headers().Get(corev1.PortHeader); port != "4245" {
			t.Errorf("port %s is forwarded", port)
		}
		server, err := net.Dial("tcp", target)
		if err != nil {
			return err
		}
		go func() { io.Copy(server, s); server.Close() }()
		go func() { io.Copy(s, server); s.Close() }()
		return nil
	})
	if conn != nil {
		<-conn.CloseChan()
	}
}

// TestConnect reads flows by the whole way: the Secret, the pod that is ready, the forwarded
// port, and mutual TLS.
func TestConnect(t *testing.T) {
	ca, err := xds.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ca.ReaderData(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	other, err := xds.NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.ReaderData(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r, err := flow.New(flow.Config{Node: "node1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range seen() {
		r.Add(e, nil)
	}
	target := operator(t, ca, r)
	for name, c := range map[string]struct {
		secret map[string][]byte
		want   string
	}{
		"the way":          {secret, "http-request FORWARDED (HTTP/1.1 GET http://backend/data)"},
		"no secret":        {nil, "there is no Secret septum-system/septum-flow-reader"},
		"an empty one":     {map[string][]byte{}, "has no certificate with its key"},
		"another's secret": {foreign, "certificate signed by unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run("flows", "--all", "--server", apiServer(t, c.secret, target), "--kubeconfig", "/dev/null")
			if !strings.Contains(got, c.want) {
				t.Errorf("it says\n%s\nand should say %q", got, c.want)
			}
		})
	}
}
