package controllers

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/septum-dev/septum/relay"
	"github.com/septum-dev/septum/xds"
)

// readerName is the name of the Secret with the certificate that flows are read with.
const readerName = "septum-flow-reader"

// listenAgain is the wait before the port for flows is tried again.
const listenAgain = 10 * time.Second

// flowServer serves the flows of all nodes. It runs on every replica: whichever a client
// comes to answers.
type flowServer struct {
	address, namespace, serviceAccount string
	port                               int
	client                             client.Client
	// pods are the cache.
	pods      client.Reader
	authority *authority
	relay     *relay.Relay
	tls       *xds.FlowTLS
	log       logr.Logger
	now       func() time.Time
}

// newFlows returns nil where flows are not to be served.
func (o *Operator) newFlows() (*flowServer, error) {
	c := o.config
	if c.FlowAddress == "" || c.FlowAddress == "0" {
		return nil, nil //nolint:nilnil // there is none, and that is no error
	}
	if c.FlowNodePort < 1 || c.FlowNodePort > 65535 || len(c.FlowServerNames) == 0 {
		return nil, fmt.Errorf("serve flows: a port of the nodes between 1 and 65535 and a name are needed, not %d and %q", c.FlowNodePort, c.FlowServerNames)
	}
	f := &flowServer{
		address: c.FlowAddress, namespace: c.Namespace, serviceAccount: c.EnforcerServiceAccount, port: c.FlowNodePort,
		client: o.manager.GetClient(), pods: o.manager.GetCache(), authority: o.authority, log: c.Log.WithName("flows"), now: time.Now,
	}
	f.tls = &xds.FlowTLS{Authority: f.authority.ca, Names: c.FlowServerNames, Now: f.now}
	var err error
	f.relay, err = relay.New(relay.Config{
		Nodes: f.nodes, Version: "septum", Metrics: ctrlmetrics.Registry,
		Credentials: func(node string) credentials.TransportCredentials { return credentials.NewTLS(f.tls.Client(node)) },
	})
	return f, err
}

// NeedLeaderElection says that replicas that do not lead serve flows, too.
func (f *flowServer) NeedLeaderElection() bool { return false }

// Start serves until the context ends. A port that cannot be had is no reason to compile no policies.
func (f *flowServer) Start(ctx context.Context) error {
	for {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", f.address)
		if err == nil {
			f.log.Info("serving flows", "address", listener.Addr().String())
			err = f.relay.Serve(ctx, listener, credentials.NewTLS(f.tls.Server()))
		}
		if ctx.Err() != nil {
			return nil
		}
		f.log.Error(err, "flows are not served: trying again")
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(listenAgain):
		}
	}
}

// nodes are those that an enforcer runs on.
func (f *flowServer) nodes(ctx context.Context) ([]relay.Node, error) {
	var pods corev1.PodList
	if err := f.pods.List(ctx, &pods, client.InNamespace(f.namespace)); err != nil {
		return nil, fmt.Errorf("list the enforcers: %w", err)
	}
	var out []relay.Node
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.Spec.ServiceAccountName != f.serviceAccount || p.Spec.NodeName == "" || p.Status.Phase != corev1.PodRunning ||
			p.DeletionTimestamp != nil || p.Status.PodIP == "" {
			continue
		}
		out = append(out, relay.Node{Name: p.Spec.NodeName, Address: net.JoinHostPort(p.Status.PodIP, strconv.Itoa(f.port))})
	}
	return out, nil
}

// keepReader keeps the Secret with the readers' certificate, on the leader.
func (f *flowServer) keepReader(ctx context.Context) {
	for {
		if err := f.syncReader(ctx); err != nil && ctx.Err() == nil {
			f.log.Error(err, "the certificate for reading flows is not in order")
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(caEvery):
		}
	}
}

func (f *flowServer) syncReader(ctx context.Context) error {
	ca, now := f.authority.ca(), f.now()
	secret := &corev1.Secret{}
	err := f.client.Get(ctx, client.ObjectKey{Namespace: f.namespace, Name: readerName}, secret)
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("read Secret %s: %w", readerName, err)
	}
	missing := err != nil
	if !missing && ca.ReaderGood(secret.Data, now) {
		return nil
	}
	data, err := ca.ReaderData(now)
	if err != nil {
		return err
	}
	if missing {
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: f.namespace, Name: readerName, Labels: ownLabels()},
			Type:       corev1.SecretTypeTLS, Data: data,
		}
		err = f.client.Create(ctx, secret)
	} else {
		secret.Data = data
		err = f.client.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", readerName, err)
	}
	f.log.Info("certificate for reading flows issued", "secret", readerName)
	return nil
}
