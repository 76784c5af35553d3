package v2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CiliumNetworkPolicy says what the pods of its own namespace accept and
// connect to. It is the kind of the Cilium project, enforced by Septum on
// any CNI.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:categories={cilium,ciliumpolicy},singular="ciliumnetworkpolicy",path="ciliumnetworkpolicies",scope="Namespaced",shortName={cnp,ciliumnp}
// +kubebuilder:printcolumn:JSONPath=".metadata.creationTimestamp",name="Age",type=date
// +kubebuilder:printcolumn:JSONPath=".status.conditions[?(@.type=='Valid')].status",name="Valid",type=string
// +kubebuilder:printcolumn:JSONPath=".status.conditions[?(@.type=='Enforced')].status",name="Enforced",type=string,priority=1
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec or specs must be provided"
type CiliumNetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	metav1.ObjectMeta `json:"metadata"`

	// One subject and its rules.
	// +optional
	Spec *Rule `json:"spec,omitempty"`

	// Several subjects and their rules, each as if it were a policy of its
	// own.
	// +optional
	Specs []Rule `json:"specs,omitempty"`

	// What became of the policy. Written by the operator alone.
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// CiliumNetworkPolicyList is a list of CiliumNetworkPolicy.
//
// +kubebuilder:object:root=true
type CiliumNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumNetworkPolicy `json:"items"`
}

// CiliumClusterwideNetworkPolicy says what pods of all namespaces accept
// and connect to. It is the kind of the Cilium project, enforced by Septum
// on any CNI.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:categories={cilium,ciliumpolicy},singular="ciliumclusterwidenetworkpolicy",path="ciliumclusterwidenetworkpolicies",scope="Cluster",shortName={ccnp}
// +kubebuilder:printcolumn:JSONPath=".metadata.creationTimestamp",name="Age",type=date
// +kubebuilder:printcolumn:JSONPath=".status.conditions[?(@.type=='Valid')].status",name="Valid",type=string
// +kubebuilder:printcolumn:JSONPath=".status.conditions[?(@.type=='Enforced')].status",name="Enforced",type=string,priority=1
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec or specs must be provided"
type CiliumClusterwideNetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	metav1.ObjectMeta `json:"metadata"`

	// One subject and its rules.
	// +optional
	Spec *Rule `json:"spec,omitempty"`

	// Several subjects and their rules, each as if it were a policy of its
	// own.
	// +optional
	Specs []Rule `json:"specs,omitempty"`

	// What became of the policy. Written by the operator alone.
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// CiliumClusterwideNetworkPolicyList is a list of
// CiliumClusterwideNetworkPolicy.
//
// +kubebuilder:object:root=true
type CiliumClusterwideNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumClusterwideNetworkPolicy `json:"items"`
}

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// Cilium's condition Valid, and Septum's Accepted, ResolvedRefs, Enforced,
	// Degraded and Conflicted, as on its native kinds.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +patchMergeKey=type
	// +patchStrategy=merge
	Conditions []Condition `json:"conditions,omitempty"`

	// Written by Cilium only; kept as it is.
	// +optional
	// +kubebuilder:pruning:PreserveUnknownFields
	DerivativePolicies map[string]NodeStatus `json:"derivativePolicies,omitempty"`
}

// NodeStatus is Cilium's status of a derived policy.
type NodeStatus struct {
	// The policy was imported.
	// +optional
	OK bool `json:"ok,omitempty"`
	// What went wrong.
	// +optional
	Error string `json:"error,omitempty"`
	// When the status was written.
	// +optional
	LastUpdated metav1.Time `json:"lastUpdated,omitzero"`
	// The revision of the node's policies that has the policy first.
	// +optional
	Revision uint64 `json:"localPolicyRevision,omitempty"`
	// All endpoints enforce the policy.
	// +optional
	Enforcing bool `json:"enforcing,omitempty"`
	// The policy's annotations that the node has carried out.
	// +optional
	Annotations map[string]string `json:"annotations,omitempty"`
}

// Condition is one thing that is true or false of a policy. Cilium's
// conditions have no observedGeneration, and a reason and message that may
// be empty.
type Condition struct {
	// What the condition is about.
	Type string `json:"type"`
	// True, False or Unknown.
	// +kubebuilder:validation:Enum="True";"False";Unknown
	Status metav1.ConditionStatus `json:"status"`
	// The generation of the policy that the condition is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// When the status changed last.
	// +optional
	LastTransitionTime metav1.Time `json:"lastTransitionTime,omitzero"`
	// A word for machines.
	// +optional
	Reason string `json:"reason,omitempty"`
	// What it means, in words.
	// +optional
	Message string `json:"message,omitempty"`
}
