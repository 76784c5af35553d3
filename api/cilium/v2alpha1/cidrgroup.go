package v2alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
)

// Version is the API's version.
const Version = "v2alpha1"

// CiliumCIDRGroup is a list of addresses outside of the cluster that policies
// name by the group's name (cidrGroupRef) or by its labels
// (cidrGroupSelector). A change of it acts at once on the policies that use
// it. It is the kind of the Cilium project.
//
// +kubebuilder:object:root=true
// +kubebuilder:deprecatedversion
// +kubebuilder:resource:categories={cilium},singular="ciliumcidrgroup",path="ciliumcidrgroups",scope="Cluster",shortName={ccg}
type CiliumCIDRGroup struct {
	metav1.TypeMeta `json:",inline"`
	// Standard object metadata. Policies may select groups by its labels.
	metav1.ObjectMeta `json:"metadata"`

	// What the group holds.
	Spec ciliumv2.CIDRGroupSpec `json:"spec"`
}

// CiliumCIDRGroupList is a list of CiliumCIDRGroup.
//
// +kubebuilder:object:root=true
type CiliumCIDRGroupList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumCIDRGroup `json:"items"`
}
