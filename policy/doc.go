// Package policy is what Septum's policies mean, as values and pure functions.
//
// In: a [Snapshot], which is every policy, pod, node and service of the cluster with all
// Kubernetes API types already taken away (package policy/ingest makes it).
// Out: for each node a [NodePolicy] ([Resolve]), from which the BPF entries and Envoy's
// configuration are made, and for each request a [Decision] ([Decide]), the oracle
// that every backend must agree with.
//
// The package imports the standard library only, and takes no context, clock, logger or lock.
package policy
