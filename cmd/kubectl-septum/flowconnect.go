package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// What the operator serves flows by.
const (
	relayService = "septum-hubble-relay"
	readerSecret = "septum-flow-reader"
)

// maxFlow bounds one answer.
const maxFlow = 4 << 20

// connect returns a connection to the operator's flows, and what ends it.
func (s *source) connect(ctx context.Context, errOut io.Writer) (*grpc.ClientConn, func(), error) {
	if s.dial != nil {
		return s.dial()
	}
	c, err := s.client()
	if err != nil {
		return nil, nil, err
	}
	secured, err := readerTLS(ctx, c, s.system)
	if err != nil {
		return nil, nil, err
	}
	pod, port, err := relayPod(ctx, c, s.system)
	if err != nil {
		return nil, nil, err
	}
	config, err := s.kube.ToRESTConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	local, stop, err := forward(config, s.system, pod, port, errOut)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient(fmt.Sprintf("passthrough:///127.0.0.1:%d", local), grpc.WithNoProxy(),
		grpc.WithTransportCredentials(credentials.NewTLS(secured)), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxFlow)))
	if err != nil {
		stop()
		return nil, nil, fmt.Errorf("connect to the operator: %w", err)
	}
	return conn, func() { conn.Close(); stop() }, nil
}

// readerTLS shows the certificate of the cluster's Secret.
func readerTLS(ctx context.Context, c client.Client, namespace string) (*tls.Config, error) {
	var secret corev1.Secret
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: readerSecret}, &secret)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no Secret %s/%s: is Septum installed there (--system-namespace), with hubble.enabled?", namespace, readerSecret)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not read flows: %w (docs/kubectl-septum.md has a Role)", err)
	case err != nil:
		return nil, fmt.Errorf("read Secret %s/%s: %w", namespace, readerSecret, err)
	}
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("the Secret %s/%s has no certificate with its key: %w", namespace, readerSecret, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		return nil, fmt.Errorf("the Secret %s/%s has no certificates under ca.crt", namespace, readerSecret)
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{pair}, RootCAs: roots, ServerName: relayService + "." + namespace + ".svc"}, nil
}

// relayPod is a pod behind the operator's service for flows, and its port.
func relayPod(ctx context.Context, c client.Client, namespace string) (string, int32, error) {
	var svc corev1.Service
	if err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: relayService}, &svc); err != nil {
		return "", 0, fmt.Errorf("read Service %s/%s: %w", namespace, relayService, err)
	}
	var pods corev1.PodList
	if err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels(svc.Spec.Selector)); err != nil {
		return "", 0, fmt.Errorf("list the pods of Service %s/%s: %w", namespace, relayService, err)
	}
	ready := func(p corev1.Pod) bool {
		return p.DeletionTimestamp == nil && slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	}
	i := slices.IndexFunc(pods.Items, ready)
	if i < 0 {
		return "", 0, fmt.Errorf("the Service %s/%s has no pod that is ready", namespace, relayService)
	}
	port, err := containerPort(svc, pods.Items[i])
	return pods.Items[i].Name, port, err
}

// containerPort is the pod's port behind the service's first.
func containerPort(svc corev1.Service, pod corev1.Pod) (int32, error) {
	if len(svc.Spec.Ports) == 0 {
		return 0, fmt.Errorf("the Service %s/%s has no port", svc.Namespace, svc.Name)
	}
	target := svc.Spec.Ports[0].TargetPort
	if target.Type == intstr.Int && target.IntVal > 0 {
		return target.IntVal, nil
	}
	for _, c := range pod.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == target.StrVal {
				return p.ContainerPort, nil
			}
		}
	}
	return 0, fmt.Errorf("pod %s/%s has no port %q", pod.Namespace, pod.Name, target.String())
}

// forward forwards a local port to the pod's, as kubectl does.
func forward(config *rest.Config, namespace, pod string, port int32, errOut io.Writer) (local uint16, stop func(), err error) {
	set, err := kubernetes.NewForConfig(config)
	if err != nil {
		return 0, nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	url := set.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return 0, nil, fmt.Errorf("forward a port: %w", err)
	}
	older := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	newer, err := portforward.NewSPDYOverWebsocketDialer(url, config)
	if err != nil {
		return 0, nil, fmt.Errorf("forward a port: %w", err)
	}
	dialer := portforward.NewFallbackDialer(newer, older, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	stopped, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{"0:" + strconv.Itoa(int(port))}, stopped, ready, io.Discard, errOut)
	if err != nil {
		return 0, nil, fmt.Errorf("forward a port: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- forwarder.ForwardPorts() }()
	stop = func() {
		close(stopped)
		<-ended //nolint:errcheck // that it was stopped is no error
	}
	select {
	case err := <-ended:
		return 0, nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, errors.Join(err))
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		stop()
		return 0, nil, fmt.Errorf("forward a port to pod %s/%s: %w", namespace, pod, err)
	}
	return ports[0].Local, stop, nil
}
