// Package v1alpha1 is the native policy API of Septum, group septum.dev:
// what a pod may be asked, down to the single HTTP request or gRPC call.
//
// The types carry no logic; what they mean is in package policy. The
// comments on the fields are what `kubectl explain` prints, and are
// written to be read as the manual.
//
// +kubebuilder:object:generate=true
// +groupName=septum.dev
package v1alpha1
