package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// PolicyStatus is what became of a policy.
type PolicyStatus struct {
	// The generation of the policy that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`

	// What is true of the policy now:
	//
	//	Accepted      it is understood and supported, all of it
	//	ResolvedRefs  every service, secret and named port in it exists
	//	Enforced      every node that hosts one of its pods has this generation in its data path
	//	Degraded      a part of it is closed because it could not be carried out
	//	Conflicted    it and another policy say things that exclude each other
	//
	// +optional
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`

	// Mistakes in the policy and what is not supported in it: the first 64.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Problems []PolicyProblem `json:"problems,omitempty"`
}

// PolicyProblem is a mistake in a policy, or something in it that cannot
// be enforced. What it names is closed, unless it is a warning.
type PolicyProblem struct {
	// The field, such as spec.ingress[0].ports[0].port.
	// +kubebuilder:validation:MaxLength=1024
	Path string `json:"path"`

	// A word for machines: Invalid, Unsupported, UnresolvedRef, Conflict,
	// UnknownField, CanNotMatch or PartlyAllowed.
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason"`

	// What is wrong, and what would be right.
	// +kubebuilder:validation:MaxLength=4096
	Message string `json:"message"`

	// True if nothing is closed because of it.
	// +optional
	Warning bool `json:"warning,omitempty"`
}

// The condition types of policies of all four kinds and of L7PolicyStatus.
const (
	// ConditionAccepted: the policy is understood and supported, all of it.
	ConditionAccepted = "Accepted"
	// ConditionResolvedRefs: everything that the policy refers to exists.
	ConditionResolvedRefs = "ResolvedRefs"
	// ConditionEnforced: every node that hosts a selected pod has acknowledged
	// this generation, in its data path.
	ConditionEnforced = "Enforced"
	// ConditionDegraded: a part of the policy is closed because it cannot be
	// carried out, or open as its failurePolicy asks.
	ConditionDegraded = "Degraded"
	// ConditionConflicted: the policy and another one exclude each other
	// somewhere.
	ConditionConflicted = "Conflicted"
	// ConditionValid is Cilium's own condition, written beside the others on
	// its kinds: `kubectl get cnp` prints it.
	ConditionValid = "Valid"
)

// The reasons of conditions. Those of policy.ProblemReason are reasons
// too: Accepted is False with the reason of the first problem.
const (
	// ReasonAccepted: Accepted is True.
	ReasonAccepted = "Accepted"
	// ReasonAcceptedWithWarnings: Accepted is True, and there are warnings.
	ReasonAcceptedWithWarnings = "AcceptedWithWarnings"
	// ReasonInvalid: a field is wrong; what it describes is closed.
	ReasonInvalid = "Invalid"
	// ReasonUnsupported: a field cannot be enforced; what it describes is
	// closed.
	ReasonUnsupported = "Unsupported"
	// ReasonUnknownField: a field is not part of the API; what holds it is
	// closed.
	ReasonUnknownField = "UnknownField"
	// ReasonCanNotMatch: a rule can never match.
	ReasonCanNotMatch = "CanNotMatch"
	// ReasonPartlyAllowed: a rule allows some backends of a service, and so not
	// its address.
	ReasonPartlyAllowed = "PartlyAllowed"
	// ReasonResolved: ResolvedRefs is True.
	ReasonResolved = "Resolved"
	// ReasonUnresolvedRef: something that the policy refers to does not exist.
	ReasonUnresolvedRef = "UnresolvedRef"
	// ReasonEnforced: Enforced is True.
	ReasonEnforced = "Enforced"
	// ReasonAudited: Enforced is True, in mode Audit.
	ReasonAudited = "Audited"
	// ReasonNoPodSelected: Enforced is True, since there is nothing to
	// enforce.
	ReasonNoPodSelected = "NoPodSelected"
	// ReasonPending: nodes have not acknowledged this generation yet.
	ReasonPending = "Pending"
	// ReasonNodeRejected: a node cannot carry the generation out and keeps its
	// last one.
	ReasonNodeRejected = "NodeRejected"
	// ReasonNodeOutdated: a node's enforcer is older than the operator and does not know
	// something that the policy's rules need: those allow nothing on that node.
	ReasonNodeOutdated = "NodeOutdated"
	// ReasonNodeUnreachable: a node that hosts a selected pod is not
	// connected.
	ReasonNodeUnreachable = "NodeUnreachable"
	// ReasonNotEnforceable: a selected pod cannot be enforced (hostNetwork, no
	// veth).
	ReasonNotEnforceable = "NotEnforceable"
	// ReasonHealthy: Degraded is False.
	ReasonHealthy = "Healthy"
	// ReasonPartlyClosed: Degraded is True.
	ReasonPartlyClosed = "PartlyClosed"
	// ReasonFailingOpen: Degraded is True, since connections go on unjudged on
	// a node whose proxy is not ready.
	ReasonFailingOpen = "FailingOpen"
	// ReasonConflict: Conflicted is True.
	ReasonConflict = "Conflict"
	// ReasonNoConflict: Conflicted is False.
	ReasonNoConflict = "NoConflict"
)
