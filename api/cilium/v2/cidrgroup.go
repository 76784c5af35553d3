package v2

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// CiliumCIDRGroup is a list of addresses outside of the cluster that policies
// name by the group's name (cidrGroupRef) or by its labels
// (cidrGroupSelector). A change of it acts at once on the policies that use
// it. It is the kind of the Cilium project.
//
// +kubebuilder:object:root=true
// +kubebuilder:storageversion
// +kubebuilder:resource:categories={cilium},singular="ciliumcidrgroup",path="ciliumcidrgroups",scope="Cluster",shortName={ccg}
type CiliumCIDRGroup struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Policies may select groups by its labels.
	metav1.ObjectMeta `json:"metadata"`

	// What the group holds.
	Spec CIDRGroupSpec `json:"spec"`
}

// CIDRGroupSpec is what a CiliumCIDRGroup holds.
type CIDRGroupSpec struct {
	// Ranges of addresses outside of the cluster, or single addresses. Like any
	// range in a policy they never select pods or nodes. An empty list is
	// nobody.
	// +kubebuilder:validation:MinItems=0
	ExternalCIDRs []CIDR `json:"externalCIDRs"`
}

// CiliumCIDRGroupList is a list of CiliumCIDRGroup.
//
// +kubebuilder:object:root=true
type CiliumCIDRGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumCIDRGroup `json:"items"`
}
