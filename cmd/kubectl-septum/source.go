package main

import (
	"context"
	"fmt"

	"github.com/spf13/pflag"
	"google.golang.org/grpc"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/septum-dev/septum/policy/ingest"
)

// source is where the objects are: files, or the cluster of the kubeconfig.
type source struct {
	kube  *genericclioptions.ConfigFlags
	files []string
	// system is the namespace that Septum is installed in.
	system string
	// dial connects to another server of flows than the cluster's; nil for the cluster's.
	dial func() (*grpc.ClientConn, func(), error)
}

func newSource() *source { return &source{kube: genericclioptions.NewConfigFlags(true)} }

func (s *source) flags(set *pflag.FlagSet) {
	s.kube.AddFlags(set)
	set.StringVar(&s.system, "system-namespace", "septum-system", "the namespace that Septum is installed in")
	set.StringSliceVarP(&s.files, "filename", "f", nil,
		"files or directories with policies and what they are about (pods, workloads, namespaces, services, nodes); nothing is asked of a cluster then")
}

// namespace is that of names without one.
func (s *source) namespace() string {
	if s.kube.Namespace != nil && *s.kube.Namespace != "" {
		return *s.kube.Namespace
	}
	if len(s.files) == 0 {
		if name, _, err := s.kube.ToRawKubeConfigLoader().Namespace(); err == nil {
			return name
		}
	}
	return "default"
}

// objects are everything that decides.
func (s *source) objects(ctx context.Context) (ingest.Objects, error) {
	if len(s.files) > 0 {
		return readFiles(s.files)
	}
	c, err := s.client()
	if err != nil {
		return ingest.Objects{}, err
	}
	return readCluster(ctx, c)
}

func (s *source) client() (client.Client, error) {
	config, err := s.kube.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, appsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register types: %w", err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return c, nil
}

// policyKinds are the four kinds of policies.
func policyKinds() []schema.GroupVersionKind {
	septum, cilium := schema.GroupVersion{Group: "septum.dev", Version: "v1alpha1"}, schema.GroupVersion{Group: "cilium.io", Version: "v2"}
	return []schema.GroupVersionKind{
		septum.WithKind("L7NetworkPolicy"), septum.WithKind("ClusterL7NetworkPolicy"),
		cilium.WithKind("CiliumNetworkPolicy"), cilium.WithKind("CiliumClusterwideNetworkPolicy"),
	}
}

func isPolicy(kind schema.GroupVersionKind) bool {
	for _, k := range policyKinds() {
		if k == kind {
			return true
		}
	}
	return false
}

// readCluster reads what the operator reads, but for Secrets: rules that need one are left closed.
func readCluster(ctx context.Context, c client.Client) (ingest.Objects, error) {
	var out ingest.Objects
	var pods corev1.PodList
	var namespaces corev1.NamespaceList
	var nodes corev1.NodeList
	var services corev1.ServiceList
	var slices discoveryv1.EndpointSliceList
	for _, list := range []client.ObjectList{&pods, &namespaces, &nodes, &services, &slices} {
		if err := c.List(ctx, list); err != nil {
			return out, fmt.Errorf("list %T: %w", list, err)
		}
	}
	kinds := append(policyKinds(), schema.GroupVersionKind{Group: "cilium.io", Version: "v2", Kind: "CiliumCIDRGroup"})
	for _, kind := range kinds {
		list := unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := c.List(ctx, &list); meta.IsNoMatchError(err) {
			continue // the cluster does not have the kind
		} else if err != nil {
			return out, fmt.Errorf("list %s: %w", kind.Kind, err)
		}
		if isPolicy(kind) {
			out.Policies = append(out.Policies, list.Items...)
		} else {
			out.CIDRGroups = append(out.CIDRGroups, list.Items...)
		}
	}
	out.Pods, out.Namespaces, out.Nodes, out.Services, out.EndpointSlices = pods.Items, namespaces.Items, nodes.Items, services.Items, slices.Items
	return out, nil
}
