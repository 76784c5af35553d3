package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/xds"
)

// leaseName is the name of the Lease that replicas elect their leader with.
const leaseName = "septum-operator"

// The operator's share of the API server: enough for a status a second of many policies.
const (
	clientQPS   = 50
	clientBurst = 100
)

// Config is what an [Operator] needs. Every field but Pod, CAExternal, SharedSecretNamespaces, LeaderElection and
// those of flows is required.
type Config struct {
	// REST is how the API server is reached.
	REST *rest.Config
	// Namespace is the operator's own, and the enforcers'.
	Namespace string
	// Pod is the name of the operator's own pod; empty if it is none, and has no other replicas.
	Pod string
	// ClusterName is the value of the label io.cilium.k8s.policy.cluster.
	ClusterName string
	// EnforcerServiceAccount is the name of the enforcers' service account.
	EnforcerServiceAccount string
	// GRPCAddress, MetricsAddress and HealthAddress are listened on; "0" turns the
	// last two off.
	GRPCAddress, MetricsAddress, HealthAddress string
	// ServerNames are the names in the operator's certificate.
	ServerNames []string
	// FlowAddress is where every replica serves the cluster's flows, with FlowServerNames in
	// its certificate; "0" or empty serves none. FlowNodePort is the enforcers' port for them.
	FlowAddress     string
	FlowServerNames []string
	FlowNodePort    int
	// CASecret is the name of the authority's Secret. With CAExternal somebody else, such
	// as cert-manager, makes and renews it; its certificate must be a CA's.
	CASecret   string
	CAExternal bool
	// SharedSecretNamespaces are those whose Secrets policies of every namespace may name.
	SharedSecretNamespaces []string
	// LeaderElection lets several replicas run, all of which serve and one of which writes.
	LeaderElection bool
	Log            logr.Logger
}

// Operator is the whole of it, put together.
type Operator struct {
	config    Config
	manager   manager.Manager
	fleet     *fleet
	server    *xds.Server
	authority *authority
	status    *statusWriter
	kinds     *kindsReconciler
	snapshot  *snapshotReconciler
	secrets   *secretReader
	replicas  *replicas
	// flows serves the cluster's flows; nil where that is off.
	flows *flowServer
	// published is closed after the first compile.
	published     chan struct{}
	publishedOnce sync.Once
	// serving is true while nodes can connect.
	serving atomic.Bool
}

// New returns an operator that does not run yet.
func New(config Config) (*Operator, error) {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("make the scheme: %w", err)
	}
	limited := rest.CopyConfig(config.REST)
	limited.QPS, limited.Burst = clientQPS, clientBurst
	mgr, err := ctrl.NewManager(limited, ctrl.Options{
		Scheme: scheme,
		Logger: config.Log,
		Cache:  cache.Options{DefaultTransform: trim},
		Client: client.Options{Cache: &client.CacheOptions{
			// The operator may read one Secret and one ConfigMap, and must see them as they are.
			DisableFor:   []client.Object{&corev1.Secret{}, &corev1.ConfigMap{}, &v1alpha1.L7PolicyStatus{}},
			Unstructured: true,
		}},
		Metrics:                       metricsserver.Options{BindAddress: config.MetricsAddress},
		HealthProbeBindAddress:        config.HealthAddress,
		LeaderElection:                config.LeaderElection,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       config.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	m, err := newMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, err
	}
	o := &Operator{config: config, manager: mgr, fleet: newFleet(m, time.Now), published: make(chan struct{})}
	if err := o.assemble(m); err != nil {
		return nil, err
	}
	return o, nil
}

func (o *Operator) assemble(m *metrics) error {
	config, mgr := o.config, o.manager
	o.authority = &authority{
		client: mgr.GetClient(), namespace: config.Namespace, secret: config.CASecret, external: config.CAExternal,
		log: config.Log.WithName("authority"), now: time.Now,
	}
	auth := &authenticator{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), namespace: config.Namespace, serviceAccount: config.EnforcerServiceAccount,
	}
	var err error
	o.server, err = xds.NewServer(xds.ServerConfig{
		Names: config.ServerNames, CA: o.authority.ca, Authenticate: auth.authenticate,
		Observer: o.fleet, States: o.fleet, Log: config.Log.WithName("xds"), Now: time.Now,
	})
	if err != nil {
		return err
	}
	o.status = &statusWriter{
		client: mgr.GetClient(), reader: mgr.GetAPIReader(), recorder: mgr.GetEventRecorder("septum-operator"),
		fleet: o.fleet, namespace: config.Namespace, metrics: m, log: config.Log.WithName("status"), now: time.Now,
	}
	o.kinds = &kindsReconciler{reader: mgr.GetAPIReader(), mapper: mgr.GetRESTMapper(), active: map[policyKind]bool{}}
	o.secrets = &secretReader{reader: mgr.GetAPIReader(), shared: config.SharedSecretNamespaces, log: config.Log.WithName("secrets")}
	o.snapshot = &snapshotReconciler{
		cluster: config.ClusterName, reader: mgr.GetCache(), secrets: o.secrets, kinds: o.kinds.list,
		serve: o.serve, publish: o.fleet.publish, metrics: m, log: config.Log.WithName("snapshot"),
	}
	if o.replicas, err = o.newReplicas(); err != nil {
		return err
	}
	if o.flows, err = o.newFlows(); err != nil {
		return err
	}
	if o.flows != nil {
		if err := mgr.Add(o.flows); err != nil {
			return fmt.Errorf("add the server of flows: %w", err)
		}
	}
	seen := &contact{reader: mgr.GetAPIReader(), namespace: config.Namespace, log: config.Log.WithName("contact"), every: contactEvery, lost: contactLost}
	return errors.Join(o.watch(), mgr.Add(everyReplica(o.serveNodes)), mgr.Add(seen), mgr.Add(manager.RunnableFunc(o.lead)),
		mgr.AddHealthzCheck("ping", func(*http.Request) error { return nil }),
		mgr.AddReadyzCheck("control-plane", o.ready))
}

func (o *Operator) serve(p xds.Publication) error {
	if err := o.server.Publish(p); err != nil {
		return err
	}
	o.publishedOnce.Do(func() { close(o.published) })
	return nil
}

// ready: every replica serves.
func (o *Operator) ready(*http.Request) error {
	if !o.serving.Load() {
		return errors.New("nodes are not served yet: nothing has been compiled, or there is no certificate authority")
	}
	return nil
}

// Run works until the context ends or the leadership is lost.
func (o *Operator) Run(ctx context.Context) error {
	if err := o.manager.Start(ctx); err != nil {
		return fmt.Errorf("run the operator: %w", err)
	}
	return nil
}

// everyReplica is work that needs no leader.
type everyReplica func(context.Context) error

func (r everyReplica) Start(ctx context.Context) error { return r(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everyReplica) NeedLeaderElection() bool { return false }

// serveNodes is what every replica does beside compiling. Nodes are let in last.
func (o *Operator) serveNodes(ctx context.Context) error {
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group.Go(func() { o.authority.follow(ctx) })
	group.Go(func() { o.secrets.run(ctx) })
	select {
	case <-o.published:
	case <-ctx.Done():
		return nil
	}
	if err := o.authority.wait(ctx); err != nil {
		return nil //nolint:nilerr // the context has ended
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.config.GRPCAddress)
	if err != nil {
		return fmt.Errorf("listen for nodes: %w", err)
	}
	o.config.Log.Info("serving nodes", "address", listener.Addr().String())
	o.serving.Store(true)
	defer o.serving.Store(false)
	return o.server.Serve(ctx, listener)
}

// lead is what the leader alone does: it writes certificates and statuses.
func (o *Operator) lead(ctx context.Context) error {
	if err := retry(ctx, o.config.Log, "certificate authority not in order", o.authority.sync); err != nil {
		return nil //nolint:nilerr // the context has ended
	}
	if err := retry(ctx, o.config.Log, "earlier statuses not read", o.status.load); err != nil {
		return nil //nolint:nilerr // the context has ended
	}
	o.config.Log.Info("leading: this replica writes statuses")
	var group sync.WaitGroup
	group.Go(func() { o.authority.run(ctx) })
	group.Go(func() { o.status.run(ctx) })
	group.Go(func() { o.replicas.run(ctx) })
	if o.flows != nil {
		group.Go(func() { o.flows.keepReader(ctx) })
	}
	group.Wait()
	return nil
}

// retry does something until it succeeds or the context ends.
func retry(ctx context.Context, log logr.Logger, failed string, do func(context.Context) error) error {
	for {
		err := do(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			log.Error(err, failed)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}
