// Package api holds the Kubernetes API types of Septum, and the commands that generate
// from them: deep copies beside the types, and the CRDs under config/crd.
//
//	go generate ./api
//
// In: the Go types and their markers. Out: zz_generated.deepcopy.go, config/crd/bases
// (septum.dev) and config/crd/cilium (cilium.io).
package api

//go:generate go tool controller-gen object paths=./...
//go:generate go tool controller-gen crd:maxDescLen=100000 paths=./v1alpha1 output:crd:dir=../config/crd/bases
//go:generate go tool controller-gen crd:maxDescLen=100000 paths=./cilium/... output:crd:dir=../config/crd/cilium
//go:generate go run ./internal/crdpatch ../config/crd/bases ../config/crd/admission/septum-fields.yaml
//go:generate go run ./internal/crdpatch ../config/crd/cilium ../config/crd/admission/cilium-fields.yaml
