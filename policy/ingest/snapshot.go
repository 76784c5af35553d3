package ingest

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/septum-dev/septum/policy"
)

// Objects is everything in the cluster that decides. Ingest reads it and keeps nothing of it.
type Objects struct {
	// Cluster is the cluster's name; "" means "default".
	Cluster string
	// Policies are of all four kinds. They are decoded here, strictly.
	Policies []unstructured.Unstructured
	// CIDRGroups are CiliumCIDRGroups of either version, decoded here too.
	CIDRGroups     []unstructured.Unstructured
	Pods           []corev1.Pod
	Namespaces     []corev1.Namespace
	Nodes          []corev1.Node
	Services       []corev1.Service
	EndpointSlices []discoveryv1.EndpointSlice
	// Secrets are those of an earlier Snapshot's SecretKeys that could be read;
	// UnreadableSecrets says of the others, by "namespace/name", why not.
	Secrets           []corev1.Secret
	UnreadableSecrets map[string]string
	// SharedSecretNamespaces are those whose Secrets policies of every namespace may name.
	SharedSecretNamespaces []string
	// Time is when the certificates that are issued for rules must hold.
	Time time.Time
	// Leaves, if set, keeps those certificates for the next Snapshot.
	Leaves *Leaves
}

// Snapshot returns the objects as values, sorted as policy.Snapshot says, and the
// problems of the policies by policy and path.
func Snapshot(o Objects) (policy.Snapshot, []policy.Problem) {
	if o.Cluster == "" {
		o.Cluster = "default"
	}
	var problems []policy.Problem
	services := servicesOf(o)
	c := converter{cluster: o.Cluster, services: services, groups: cidrGroupsOf(o.CIDRGroups), secrets: newSecrets(o), keys: map[string]bool{}}
	policies := make([]policy.Policy, 0, len(o.Policies))
	for i := range o.Policies {
		p, found := c.policy(&o.Policies[i])
		problems = append(problems, found...)
		if p != nil {
			policies = append(policies, *p)
		}
	}
	slices.SortFunc(policies, func(a, b policy.Policy) int {
		return cmp.Or(policy.CompareRefs(a.Ref, b.Ref), cmp.Compare(a.UID, b.UID))
	})
	endpoints, identities := endpointsOf(o, c.keys)
	problems = append(problems, hostNetworkProblems(policies, endpoints)...)
	sortProblems(problems)
	return policy.Snapshot{
		Nodes:      nodesOf(o.Nodes),
		Endpoints:  endpoints,
		Services:   services,
		Policies:   policies,
		Identities: identities,
		APIServer:  apiServerOf(services),
		Secrets:    c.secrets.values(),
		SecretKeys: c.secrets.keys(),
	}, slices.Compact(problems)
}

func sortProblems(problems []policy.Problem) {
	slices.SortStableFunc(problems, func(a, b policy.Problem) int {
		return cmp.Or(
			policy.CompareRefs(a.Policy, b.Policy),
			cmp.Compare(a.Path, b.Path),
			cmp.Compare(a.Reason, b.Reason),
			cmp.Compare(a.Message, b.Message),
		)
	})
}

// apiServerOf returns the addresses of the service default/kubernetes and its backends.
func apiServerOf(services []policy.Service) []netip.Addr {
	var out []netip.Addr
	for _, s := range services {
		if s.Key != "default/kubernetes" {
			continue
		}
		out = append(out, s.Addrs...)
		for _, p := range s.Ports {
			for _, b := range p.Backends {
				out = append(out, b.Addr())
			}
		}
	}
	return sortAddrs(out)
}

func sortAddrs(addrs []netip.Addr) []netip.Addr {
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// appendAddr adds an address that parses; others are not addresses that packets can have.
func appendAddr(addrs []netip.Addr, text string) []netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return addrs
	}
	return append(addrs, addr.Unmap().WithZone(""))
}
