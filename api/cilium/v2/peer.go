package v2

// IngressPeers are where traffic may come from. At most one member is set;
// an empty list selects nobody, and without any member a rule with toPorts
// is about everyone.
type IngressPeers struct {
	// Pods, by their labels: of the policy's namespace, unless a selector
	// names k8s:io.kubernetes.pod.namespace or a label of the namespace.
	// +optional
	FromEndpoints []LabelSelector `json:"fromEndpoints,omitzero"`

	// Removed by Cilium; must be empty.
	// +optional
	// +kubebuilder:validation:MaxItems=0
	FromRequires []LabelSelector `json:"fromRequires,omitzero"`

	// Addresses outside of the cluster, as ranges or single addresses.
	// +optional
	FromCIDR []CIDR `json:"fromCIDR,omitzero"`

	// Addresses outside of the cluster, as ranges with exceptions.
	// +optional
	FromCIDRSet []CIDRRule `json:"fromCIDRSet,omitzero"`

	// Classes of peers: world, cluster, host, remote-node, kube-apiserver, all
	// and so on.
	// +optional
	FromEntities []Entity `json:"fromEntities,omitzero"`

	// Groups of a cloud provider. Not supported by Septum: it selects nobody.
	// +optional
	FromGroups []ProviderGroup `json:"fromGroups,omitzero"`

	// Nodes, by their labels; the pod's own node is one of them.
	// +optional
	FromNodes []LabelSelector `json:"fromNodes,omitzero"`
}

// EgressPeers are where traffic may go. At most one member is set; an
// empty list selects nobody, and without any member a rule with toPorts is
// about everyone.
type EgressPeers struct {
	// Pods, by their labels: of the policy's namespace, unless a selector
	// names k8s:io.kubernetes.pod.namespace or a label of the namespace.
	// +optional
	ToEndpoints []LabelSelector `json:"toEndpoints,omitzero"`

	// Removed by Cilium; must be empty.
	// +optional
	// +kubebuilder:validation:MaxItems=0
	ToRequires []LabelSelector `json:"toRequires,omitzero"`

	// Addresses outside of the cluster, as ranges or single addresses.
	// +optional
	ToCIDR []CIDR `json:"toCIDR,omitzero"`

	// Addresses outside of the cluster, as ranges with exceptions.
	// +optional
	ToCIDRSet []CIDRRule `json:"toCIDRSet,omitzero"`

	// Classes of peers: world, cluster, host, remote-node, kube-apiserver, all
	// and so on.
	// +optional
	ToEntities []Entity `json:"toEntities,omitzero"`

	// The backends of services; ports are those of the backends.
	// +optional
	ToServices []Service `json:"toServices,omitzero"`

	// Groups of a cloud provider. Not supported by Septum: it selects nobody.
	// +optional
	ToGroups []ProviderGroup `json:"toGroups,omitzero"`

	// Nodes, by their labels; the pod's own node is one of them.
	// +optional
	ToNodes []LabelSelector `json:"toNodes,omitzero"`
}

// LabelSelector selects by labels; all of its members must hold. Keys may
// carry the source of the label: k8s:app, any:app, reserved:host.
type LabelSelector struct {
	// Labels and their values.
	// +optional
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// Conditions on labels.
	// +optional
	// +listType=atomic
	MatchExpressions []LabelRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string

// LabelRequirement is a condition on one label.
type LabelRequirement struct {
	// The label's key.
	Key string `json:"key"`
	// In and NotIn need values, Exists and DoesNotExist have none.
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator string `json:"operator"`
	// The values.
	// +optional
	// +listType=atomic
	Values []string `json:"values,omitempty"`
}

// CIDR is a range of addresses, or one address.
//
// +kubebuilder:validation:MinLength=2
// +kubebuilder:validation:MaxLength=49
// +kubebuilder:validation:Pattern=`^[0-9a-fA-F:.]+(/[0-9]{1,3})?$`
type CIDR string

// CIDRRule is a range less its exceptions; exactly one of cidr,
// cidrGroupRef and cidrGroupSelector is set.
//
// +kubebuilder:validation:ExactlyOneOf=cidr;cidrGroupRef;cidrGroupSelector
type CIDRRule struct {
	// The range.
	// +optional
	CIDR CIDR `json:"cidr,omitempty"`

	// A CiliumCIDRGroup by its name. One that does not exist selects nobody.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`
	CIDRGroupRef string `json:"cidrGroupRef,omitempty"`

	// CiliumCIDRGroups by their labels; {} is every group. If there is none
	// with these labels, it selects nobody.
	// +optional
	CIDRGroupSelector *LabelSelector `json:"cidrGroupSelector,omitempty"`

	// Ranges that are left out: inside of cidr, or whatever part of the groups'
	// ranges is in them.
	// +optional
	Except []CIDR `json:"except,omitempty"`
}

// Entity is a class of peers that have no labels of their own.
//
// +kubebuilder:validation:Enum=all;world;cluster;cluster-mesh;host;init;ingress;unmanaged;remote-node;health;none;kube-apiserver
type Entity string

// ProviderGroup is a group of addresses that a cloud provider keeps.
type ProviderGroup struct {
	// Groups of AWS.
	// +optional
	AWS *AWSGroup `json:"aws,omitempty"`
}

// AWSGroup selects addresses of AWS.
type AWSGroup struct {
	// Labels of the network interfaces.
	// +optional
	Labels map[string]string `json:"labels,omitempty"`
	// Security groups by id.
	// +optional
	SecurityGroupsIds []string `json:"securityGroupsIds,omitempty"`
	// Security groups by name.
	// +optional
	SecurityGroupsNames []string `json:"securityGroupsNames,omitempty"`
	// Unused.
	// +optional
	Region string `json:"region,omitempty"`
}

// Service selects services by name or by labels.
type Service struct {
	// Services by their labels.
	// +optional
	K8sServiceSelector *K8sServiceSelector `json:"k8sServiceSelector,omitempty"`
	// A service by its name.
	// +optional
	K8sService *K8sService `json:"k8sService,omitempty"`
}

// K8sService names a service.
type K8sService struct {
	// The service's name.
	// +optional
	ServiceName string `json:"serviceName,omitempty"`
	// The service's namespace; left out, every namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// K8sServiceSelector selects services by their labels.
type K8sServiceSelector struct {
	// The services' labels.
	Selector LabelSelector `json:"selector"`
	// The services' namespace; left out, every namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// FQDNSelector selects destinations by DNS name; exactly one member is
// set.
//
// +kubebuilder:validation:ExactlyOneOf=matchName;matchPattern
type FQDNSelector struct {
	// The name itself.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^([-a-zA-Z0-9_]+[.]?)+$`
	MatchName string `json:"matchName,omitempty"`

	// A pattern: * stands for any characters of one label, a leading **. for
	// one or more labels.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^([-a-zA-Z0-9_*]+[.]?)+$`
	MatchPattern string `json:"matchPattern,omitempty"`
}
