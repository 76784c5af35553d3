package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// L7NetworkPolicy says which connections, HTTP requests and gRPC calls the
// pods of its own namespace accept and make.
//
// A pod that no policy selects is not touched. As soon as one policy
// selects it for a direction, everything in that direction that no rule
// allows is refused: packets are dropped, an HTTP request is answered 403
// with the body "Access denied", a gRPC call with status 7
// (PERMISSION_DENIED). Policies add up: what any one allows is allowed,
// except where a Deny rule forbids it. Replies are always allowed, and so
// is the pod's own node (the kubelet's probes).
//
// Example: frontend-app may GET /data of backend-app, and nothing else is
// let in.
//
//	apiVersion: septum.dev/v1alpha1
//	kind: L7NetworkPolicy
//	metadata:
//	  name: allow-get-products
//	  namespace: demo
//	spec:
//	  endpointSelector:
//	    matchLabels: {app: backend-app}
//	  ingress:
//	  - from:
//	    - pods:
//	        podSelector:
//	          matchLabels: {app: frontend-app}
//	    ports:
//	    - {protocol: TCP, port: 80}
//	    http:
//	    - methods: [GET]
//	      path: {exact: /data}
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=l7networkpolicies,singular=l7networkpolicy,shortName=l7np,categories={septum,septumpolicy}
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].message`,priority=1
// +kubebuilder:printcolumn:name="Failure Policy",type=string,JSONPath=`.spec.failurePolicy`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type L7NetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is allowed and denied, and for which pods.
	Spec L7NetworkPolicySpec `json:"spec"`

	// What became of the policy. Written by the operator alone.
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// L7NetworkPolicyList is a list of L7NetworkPolicy.
//
// +kubebuilder:object:root=true
type L7NetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []L7NetworkPolicy `json:"items"`
}

// ClusterL7NetworkPolicy is an L7NetworkPolicy for pods of every
// namespace.
//
// It differs in two ways: its subject is chosen by a pod selector, a
// namespace selector, or both, and a peer without a namespaceSelector
// means the pods of all namespaces. Pods of the host network, nodes and
// addresses outside of the cluster are never its subject.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:path=clusterl7networkpolicies,singular=clusterl7networkpolicy,scope=Cluster,shortName=cl7np,categories={septum,septumpolicy}
// +kubebuilder:printcolumn:name="Mode",type=string,JSONPath=`.spec.mode`
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`
// +kubebuilder:printcolumn:name="Enforced",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].status`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Enforced")].message`,priority=1
// +kubebuilder:printcolumn:name="Failure Policy",type=string,JSONPath=`.spec.failurePolicy`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ClusterL7NetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// What is allowed and denied, and for which pods.
	Spec ClusterL7NetworkPolicySpec `json:"spec"`

	// What became of the policy. Written by the operator alone.
	// +optional
	Status PolicyStatus `json:"status,omitempty"`
}

// ClusterL7NetworkPolicyList is a list of ClusterL7NetworkPolicy.
//
// +kubebuilder:object:root=true
type ClusterL7NetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ClusterL7NetworkPolicy `json:"items"`
}

// L7NetworkPolicySpec is a subject and what it may do.
//
// +kubebuilder:validation:XValidation:rule="has(self.ingress) || has(self.egress) || (has(self.defaultDeny) && (has(self.defaultDeny.ingress) && self.defaultDeny.ingress || has(self.defaultDeny.egress) && self.defaultDeny.egress))",message="a policy needs ingress or egress rules; to refuse everything, write `defaultDeny: {ingress: true}`"
type L7NetworkPolicySpec struct {
	// The pods of this policy's namespace that it applies to, by their labels.
	// An empty selector ({}) means every pod of the namespace. Pods that share
	// their node's network (hostNetwork) cannot be selected; the policy's
	// status names them.
	EndpointSelector LabelSelector `json:"endpointSelector"`

	PolicyRules `json:",inline"`
}

// ClusterL7NetworkPolicySpec is a subject and what it may do.
//
// +kubebuilder:validation:XValidation:rule="has(self.ingress) || has(self.egress) || (has(self.defaultDeny) && (has(self.defaultDeny.ingress) && self.defaultDeny.ingress || has(self.defaultDeny.egress) && self.defaultDeny.egress))",message="a policy needs ingress or egress rules; to refuse everything, write `defaultDeny: {ingress: true}`"
type ClusterL7NetworkPolicySpec struct {
	// The pods that the policy applies to, in all namespaces or in those that
	// a namespaceSelector chooses. {} means every pod of the cluster.
	Subject PodPeer `json:"subject"`

	PolicyRules `json:",inline"`
}

// PolicyRules are what both policy kinds share.
type PolicyRules struct {
	// Enforce refuses what is not allowed. Audit refuses nothing: requests and
	// packets that would have been refused are let through, counted, and
	// reported as Audit. Use it to try a policy on live traffic. Where a pod is
	// selected by enforced policies too, these refuse what they refuse, and
	// what policies in mode Audit would refuse beside that is reported; what
	// their rules allow is allowed. Traffic that http and other entries are
	// about goes through the proxy, and has to be of their protocol.
	// +optional
	// +kubebuilder:default=Enforce
	Mode PolicyMode `json:"mode,omitempty"`

	// What happens to new connections that http or grpc entries would decide,
	// while the node's proxy cannot judge them: it does not run, does not
	// listen yet, or has not answered for some seconds. Closed, the default,
	// refuses them. Open lets them through without judgement; who can make the
	// proxy fail then gets around the entries. What peers and ports deny is
	// refused in either case. Where entries of several policies are for the
	// same peer and port, Open holds only if all of these policies say so.
	// Connections that went through unjudged are counted as such in the status,
	// have flows of their own, and stay until they end. Connections that were
	// open when the proxy failed end with it.
	// +optional
	// +kubebuilder:default=Closed
	FailurePolicy FailurePolicy `json:"failurePolicy,omitempty"`

	// Whether the policy makes its subject refuse what no rule allows. By
	// default it does so for each direction that the policy has rules for. Set
	// a direction to false for a policy that only adds rules: its Allow rules
	// then restrict nothing by themselves. Set it to true, without rules, to
	// refuse everything.
	// +optional
	DefaultDeny *DefaultDeny `json:"defaultDeny,omitempty"`

	// What the subject accepts. Leave it out for a policy that says nothing
	// about incoming traffic; to refuse all of it, write `defaultDeny:
	// {ingress: true}`.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Ingress []IngressRule `json:"ingress,omitempty"`

	// What the subject may connect to. Leave it out for a policy that says
	// nothing about outgoing traffic; to refuse all of it, write `defaultDeny:
	// {egress: true}`.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Egress []EgressRule `json:"egress,omitempty"`
}

// DefaultDeny says for each direction whether what no rule allows is
// refused.
type DefaultDeny struct {
	// Refuse incoming traffic that no rule allows. Default: true if the policy
	// has ingress.
	// +optional
	Ingress *bool `json:"ingress,omitempty"`
	// Refuse outgoing traffic that no rule allows. Default: true if the policy
	// has egress.
	// +optional
	Egress *bool `json:"egress,omitempty"`
}

// PolicyMode is Enforce or Audit.
//
// +kubebuilder:validation:Enum=Enforce;Audit
type PolicyMode string

// The modes.
const (
	ModeEnforce PolicyMode = "Enforce"
	ModeAudit   PolicyMode = "Audit"
)

// FailurePolicy is Closed or Open.
//
// +kubebuilder:validation:Enum=Closed;Open
type FailurePolicy string

// The failure policies.
const (
	FailClosed FailurePolicy = "Closed"
	FailOpen   FailurePolicy = "Open"
)
