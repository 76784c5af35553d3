// Package v2alpha1 is the older version of Cilium's CiliumCIDRGroup, group
// cilium.io. It is the same kind as in version v2.
//
// +kubebuilder:object:generate=true
// +groupName=cilium.io
package v2alpha1
