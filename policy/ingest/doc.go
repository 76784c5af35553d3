// Package ingest makes a policy.Snapshot of Kubernetes objects, Septum's policies and
// Cilium's. It is the only importer of Kubernetes API types beneath the operator.
//
// In: [Objects]. Out: a sorted [policy.Snapshot], and a [policy.Problem] for everything
// that is wrong with a policy or cannot be enforced, by policy and field.
//
// What cannot be expressed is closed: a wrong or unknown part of an allow rule is left
// out of it, and takes with it whatever it would have narrowed; a wrong part of a deny
// rule makes it deny more. The same input gives the same output, in whatever order its
// objects come.
package ingest
