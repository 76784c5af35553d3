package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L7PolicyStatus shows whether a policy is enforced and what it did: one
// object for each policy of any of the four kinds, written by the operator
// alone. `kubectl get l7policystatus -n demo` is the first thing to look
// at.
//
// It is namespaced, and stands where its reader looks and has rights: the
// status of a namespaced policy in the policy's own namespace, that of a
// cluster-wide policy in the operator's namespace (septum-system). `kubectl
// get l7policystatus -A` shows all. (A cluster-scoped kind would be shown
// whole for -n demo, and could be granted to nobody by namespace.) Its
// name is the policy's kind and name, "cnp.allow-get-products", so that
// policies of different kinds can share a name. It is owned by the policy
// and goes with it.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=l7policystatuses,singular=l7policystatus,shortName={l7ps,l7status},categories={septum}
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.policyRef.kind`
// +kubebuilder:printcolumn:name="Policy",type=string,JSONPath=`.policyRef.name`
// +kubebuilder:printcolumn:name="Pods",type=integer,JSONPath=`.status.selectedPods`
// +kubebuilder:printcolumn:name="Nodes",type=string,JSONPath=`.status.enforcing`,description="Nodes that enforce this generation / nodes that host a selected pod"
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.status.mode`
// +kubebuilder:printcolumn:name="Allowed",type=integer,JSONPath=`.status.allowed`
// +kubebuilder:printcolumn:name="Denied",type=integer,JSONPath=`.status.denied`
// +kubebuilder:printcolumn:name="Audited",type=integer,JSONPath=`.status.audited`
// +kubebuilder:printcolumn:name="Failure Policy",type=string,JSONPath=`.status.failurePolicy`,priority=1
// +kubebuilder:printcolumn:name="Unjudged",type=integer,JSONPath=`.status.unjudged`,priority=1,description="Connections that went on without http and grpc rules, as failurePolicy Open asks"
// +kubebuilder:printcolumn:name="Last Denial",type=date,JSONPath=`.status.lastDenial.time`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Refs",type=string,JSONPath=`.status.conditions[?(@.type=="ResolvedRefs")].reason`,priority=1
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].reason`,priority=1
// +kubebuilder:printcolumn:name="Degraded",type=string,JSONPath=`.status.conditions[?(@.type=="Degraded")].reason`,priority=1
// +kubebuilder:printcolumn:name="Conflicted",type=string,JSONPath=`.status.conditions[?(@.type=="Conflicted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].message`,priority=1
// +kubebuilder:printcolumn:name="Denied Request",type=string,JSONPath=`.status.lastDenial.summary`,priority=1
type L7PolicyStatus struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// The policy that this is about.
	PolicyRef PolicyReference `json:"policyRef"`

	// What is known about it.
	// +optional
	Status L7PolicyStatusStatus `json:"status,omitempty"`
}

// L7PolicyStatusList is a list of L7PolicyStatus.
//
// +kubebuilder:object:root=true
type L7PolicyStatusList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []L7PolicyStatus `json:"items"`
}

// PolicyReference names a policy.
type PolicyReference struct {
	// The policy's kind.
	// +kubebuilder:validation:Enum=L7NetworkPolicy;ClusterL7NetworkPolicy;CiliumNetworkPolicy;CiliumClusterwideNetworkPolicy
	Kind string `json:"kind"`

	// The policy's namespace; empty for cluster-wide policies.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`

	// The policy's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// The policy's UID.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	UID string `json:"uid,omitempty"`
}

// L7PolicyStatusStatus is what is known about a policy.
type L7PolicyStatusStatus struct {
	// The generation of the policy that this is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// Enforce or Audit.
	// +optional
	Mode PolicyMode `json:"mode,omitempty"`

	// What happens to connections that the node's proxy cannot judge: Closed
	// or Open. Cilium's kinds are Closed.
	// +optional
	FailurePolicy FailurePolicy `json:"failurePolicy,omitempty"`

	// How many pods the policy selects.
	// +optional
	SelectedPods int32 `json:"selectedPods"`

	// How many nodes host a selected pod.
	// +optional
	HostingNodes int32 `json:"hostingNodes"`

	// How many of the hosting nodes have this generation in their data path.
	// +optional
	EnforcingNodes int32 `json:"enforcingNodes"`

	// enforcingNodes and hostingNodes as "2/2".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Enforcing string `json:"enforcing,omitempty"`

	// How many requests and connections the policy's rules allowed. Like the
	// other counts, the sum over all nodes since the policy was first seen; a
	// policy that is deleted and made again begins at 0.
	// +optional
	Allowed int64 `json:"allowed"`

	// How many requests and connections were refused because of the policy.
	// +optional
	Denied int64 `json:"denied"`

	// How many requests and connections were let through by mode Audit alone.
	// +optional
	Audited int64 `json:"audited"`

	// How many connections went on without the policy's http and grpc entries,
	// since the node's proxy could not judge them and failurePolicy is Open.
	// +optional
	Unjudged int64 `json:"unjudged"`

	// The last refusal.
	// +optional
	LastDenial *Denial `json:"lastDenial,omitempty"`

	// The policy's conditions, as in its own status.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// The policy's problems, as in its own status: the first 64.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Problems []PolicyProblem `json:"problems,omitempty"`

	// One row for each node that hosts a selected pod, by name; the first
	// 1000, those that do not enforce this generation before the others.
	// +optional
	// +kubebuilder:validation:MaxItems=1000
	// +listType=map
	// +listMapKey=name
	Nodes []NodeStatus `json:"nodes,omitempty"`
}

// Denial is one refusal.
type Denial struct {
	// When.
	Time metav1.Time `json:"time"`

	// What was refused, in a line: "demo/third -> demo/backend-app:80 GET
	// /data". The query of a path is left out.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Summary string `json:"summary,omitempty"`

	// The rule that decided, by name or place; empty where no rule matched.
	// +optional
	// +kubebuilder:validation:MaxLength=512
	Rule string `json:"rule,omitempty"`
}

// NodeStatus is one node's part in a policy.
type NodeStatus struct {
	// The node's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// How many selected pods the node hosts.
	// +optional
	Pods int32 `json:"pods"`

	// Whether the node has this generation in its data path.
	// +optional
	Enforcing bool `json:"enforcing"`

	// The last generation of the policy that the node has acknowledged.
	// +optional
	Generation int64 `json:"generation,omitempty"`

	// Why the node does not enforce this generation: Pending, NodeRejected, NodeOutdated,
	// NodeUnreachable or NotEnforceable; empty where it does.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`

	// The reason in words.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`

	// How many requests and connections were allowed here.
	// +optional
	Allowed int64 `json:"allowed"`
	// How many were refused here.
	// +optional
	Denied int64 `json:"denied"`
	// How many mode Audit alone let through here.
	// +optional
	Audited int64 `json:"audited"`
	// How many connections went on unjudged here.
	// +optional
	Unjudged int64 `json:"unjudged"`

	// When the node's last report came.
	// +optional
	LastReport *metav1.Time `json:"lastReport,omitempty"`
}
