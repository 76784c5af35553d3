package v1alpha1

// IngressPeer selects where traffic may come from; exactly one member is
// set.
//
// +kubebuilder:validation:ExactlyOneOf=pods;entities;ipBlock;nodes
type IngressPeer struct {
	// Pods, by their labels, namespaces and service accounts.
	// +optional
	Pods *PodPeer `json:"pods,omitempty"`

	// Peers that are not chosen by labels, as alternatives: all (everyone,
	// inside and outside of the cluster), world (every address that is none of
	// the cluster's), cluster (all pods, all nodes and the API server), host
	// (the pod's own node; on ingress it is always allowed), remote-node (every
	// other node), kube-apiserver, init (pods whose labels are not known yet),
	// unmanaged (addresses of the cluster whose pod is not known), none.
	// ingress and health are Cilium's own, and nobody here.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Entities []Entity `json:"entities,omitempty"`

	// Addresses outside of the cluster. A block never selects pods or nodes,
	// even if their addresses are in it.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`

	// Nodes, by their labels; the pod's own node is one of them. An empty
	// selector ({}) means all nodes.
	// +optional
	Nodes *LabelSelector `json:"nodes,omitempty"`
}

// EgressPeer selects where traffic may go; exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=pods;entities;ipBlock;nodes;services;fqdn
type EgressPeer struct {
	// Pods, by their labels, namespaces and service accounts.
	// +optional
	Pods *PodPeer `json:"pods,omitempty"`

	// Peers that are not chosen by labels, as alternatives: all (everyone,
	// inside and outside of the cluster), world (every address that is none of
	// the cluster's), cluster (all pods, all nodes and the API server), host
	// (the pod's own node; on ingress it is always allowed), remote-node (every
	// other node), kube-apiserver, init (pods whose labels are not known yet),
	// unmanaged (addresses of the cluster whose pod is not known), none.
	// ingress and health are Cilium's own, and nobody here.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Entities []Entity `json:"entities,omitempty"`

	// Addresses outside of the cluster. A block never selects pods or nodes,
	// even if their addresses are in it.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`

	// Nodes, by their labels; the pod's own node is one of them. An empty
	// selector ({}) means all nodes.
	// +optional
	Nodes *LabelSelector `json:"nodes,omitempty"`

	// The backends of services. Ports are the backends' own, after service
	// translation.
	// +optional
	Services *ServicePeer `json:"services,omitempty"`

	// The addresses outside of the cluster that the DNS gives the pod for a
	// name, or for the names of a pattern. They are known from the pod's own
	// lookups, so that a rule with dns has to allow these: without one, nothing
	// is reached by name. An address is open for as long as its TTL says, and
	// while the pod is connected to it. Those of pods, nodes and services,
	// loopback, link-local and metadata addresses are never learnt. Not for
	// rules with `action: Deny`.
	// +optional
	FQDN *DNSName `json:"fqdn,omitempty"`
}

// PodPeer selects pods; all of its members must hold, and {} selects every
// pod of the policy's namespace (in a cluster-wide policy: of the
// cluster).
type PodPeer struct {
	// The pods' labels. Without it, or {}, every pod of the namespaces.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`

	// The labels of the pods' namespaces. Without it, the policy's own
	// namespace; in a cluster-wide policy, every one. {} is every namespace. A
	// namespace by its name is `matchLabels: {kubernetes.io/metadata.name:
	// <name>}`.
	// +optional
	NamespaceSelector *LabelSelector `json:"namespaceSelector,omitempty"`

	// The service accounts that the pods run as, by name, as alternatives.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=253
	// +listType=set
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
}

// Entity is a class of peers that have no labels of their own:
//
//	all             everyone, inside and outside of the cluster
//	world           every address that is none of the cluster's
//	cluster         all pods, all nodes and the API server
//	host            the pod's own node (on ingress it is always allowed)
//	remote-node     every other node
//	kube-apiserver  the Kubernetes API server
//	init            pods whose labels are not known yet
//	unmanaged       addresses of the cluster whose pod is not known
//	ingress, health Cilium's ingress proxy and health endpoints; nobody here
//	none            nobody
//
// +kubebuilder:validation:Enum=all;world;cluster;host;remote-node;kube-apiserver;init;ingress;health;unmanaged;none
type Entity string

// IPBlock is a range of addresses less its exceptions.
//
// +kubebuilder:validation:XValidation:rule="!has(self.except) || !isCIDR(self.cidr) || self.except.all(e, !isCIDR(e) || cidr(self.cidr).containsCIDR(e))",message="each exception must lie inside the cidr",fieldPath=".except"
type IPBlock struct {
	// The range, such as 192.0.2.0/24 or 2001:db8::/32.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=49
	// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a range such as 192.0.2.0/24"
	CIDR string `json:"cidr"`

	// Ranges inside of cidr that are left out.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Except []CIDR `json:"except,omitempty"`
}

// CIDR is a range of addresses.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:XValidation:rule="isCIDR(self)",message="must be a range such as 192.0.2.0/24"
type CIDR string

// ServicePeer selects services by name or by labels; exactly one member is
// set. A service that does not exist, or has no ready backends, selects
// nothing.
//
// +kubebuilder:validation:ExactlyOneOf=name;selector
type ServicePeer struct {
	// The service's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// The services' labels; {} is every service of the namespace.
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`

	// The services' namespace. Without it, the policy's own; a cluster-wide
	// policy must name one with `name`, and without one means all namespaces
	// with `selector`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// LabelSelector selects objects by their labels; all of its members must
// hold, and {} selects every object.
type LabelSelector struct {
	// Labels that the object must have, with their values.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// Conditions on labels, all of which must hold.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string

// LabelRequirement is a condition on one label.
//
// +kubebuilder:validation:XValidation:rule="(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",message="In and NotIn need values; Exists and DoesNotExist have none",fieldPath=".values"
type LabelRequirement struct {
	// The label's key.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=317
	Key string `json:"key"`

	// In: the label has one of the values. NotIn: it has none of them, or is
	// not there. Exists, DoesNotExist: it is there, or not, with whatever
	// value.
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator string `json:"operator"`

	// The values for In and NotIn.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Values []LabelValue `json:"values,omitempty"`
}
