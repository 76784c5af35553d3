package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group and version of the API, and the kinds in it.
const (
	Group   = "septum.dev"
	Version = "v1alpha1"

	KindL7NetworkPolicy        = "L7NetworkPolicy"
	KindClusterL7NetworkPolicy = "ClusterL7NetworkPolicy"
	KindL7PolicyStatus         = "L7PolicyStatus"
)

// GroupVersion returns the API's group and version.
func GroupVersion() schema.GroupVersion { return schema.GroupVersion{Group: Group, Version: Version} }

// AddToScheme makes the kinds of the group known to the scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion(),
		&L7NetworkPolicy{}, &L7NetworkPolicyList{},
		&ClusterL7NetworkPolicy{}, &ClusterL7NetworkPolicyList{},
		&L7PolicyStatus{}, &L7PolicyStatusList{},
	)
	metav1.AddToGroupVersion(s, GroupVersion())
	return nil
}
