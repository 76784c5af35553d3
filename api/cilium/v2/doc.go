// Package v2 is our own reading of Cilium's policy kinds, group cilium.io:
// every field of Cilium up to 1.20, and Kafka as it was up to 1.19.
//
// The types are written so that nothing is lost when a policy is read: a
// field left out, an empty list and an empty selector stay three different
// things, and there is a field for everything that Cilium ever meant to
// restrict traffic by, supported here or not. Package policy/ingest reads
// objects strictly, and closes what these types do not know.
//
// +kubebuilder:object:generate=true
// +groupName=cilium.io
package v2
