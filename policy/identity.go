package policy

import "net/netip"

// Identity is the number of a set of security-relevant labels. Numbers below
// FirstClusterIdentity are reserved; the names and numbers of those are Cilium's.
type Identity uint32

// The reserved identities.
const (
	// IdentityAny is no identity: in a compiled [Entry] it stands for every peer.
	IdentityAny Identity = 0
	// IdentityHost is the pod's own node.
	IdentityHost Identity = 1
	// IdentityWorld is every address that is none of the cluster's.
	IdentityWorld Identity = 2
	// IdentityUnmanaged is a pod of the cluster whose labels are not known.
	IdentityUnmanaged Identity = 3
	// IdentityHealth is kept for Cilium's health endpoint; no address has it here.
	IdentityHealth Identity = 4
	// IdentityInit is a pod whose labels are not known yet.
	IdentityInit Identity = 5
	// IdentityRemoteNode is any other node.
	IdentityRemoteNode Identity = 6
	// IdentityKubeAPIServer is the API server's address, where it is not a pod.
	IdentityKubeAPIServer Identity = 7
	// IdentityIngress is kept for Cilium's ingress proxy; no address has it here.
	IdentityIngress Identity = 8

	// FirstClusterIdentity is the lowest number of an identity made from labels.
	FirstClusterIdentity Identity = 256
	// FirstCIDRIdentity is the lowest number of an identity that stands for a CIDR
	// named by a policy; numbers from here to FirstNodeIdentity-1 are CIDRs.
	FirstCIDRIdentity Identity = 1 << 30
	// FirstNodeIdentity is the lowest number of an identity that stands for nodes with
	// labels that a policy names; numbers from here to FirstServiceIdentity-1 are nodes.
	FirstNodeIdentity Identity = 3 << 29
	// FirstServiceIdentity is the lowest number of an identity that stands for the
	// virtual addresses of one service.
	FirstServiceIdentity Identity = 1 << 31
	// FirstNameIdentity is the lowest number of an identity that stands for the addresses
	// of one [NamePattern] that policies name.
	FirstNameIdentity Identity = 3 << 30
	// FirstLocalIdentity is the lowest number of an identity that a node makes itself, for
	// addresses of more than one name pattern, or of one inside of a CIDR that policies name.
	FirstLocalIdentity Identity = 7 << 29
)

// IsNode says whether it is another node, or the API server, which may be one.
func (i Identity) IsNode() bool {
	return i == IdentityRemoteNode || i == IdentityKubeAPIServer || i >= FirstNodeIdentity && i < FirstServiceIdentity
}

// Labels are an endpoint's or identity's labels. Keys carry their source as Cilium
// writes them: "k8s:app", "reserved:host". Besides a pod's own labels there are
//
//	k8s:io.kubernetes.pod.namespace              the namespace's name
//	k8s:io.cilium.k8s.namespace.labels.<key>     the namespace's labels
//	k8s:io.cilium.k8s.policy.serviceaccount      the service account's name
//	k8s:io.cilium.k8s.policy.cluster             the cluster's name
//	reserved:<entity>                            for a reserved identity, value ""
//	node:<key>                                   a node's label that a policy names
//	fqdn:<pattern>                               a name pattern that a policy names, value ""
type Labels map[string]string

// The label keys that ingest adds to a pod's own.
const (
	LabelNamespace       = "k8s:io.kubernetes.pod.namespace"
	LabelNamespacePrefix = "k8s:io.cilium.k8s.namespace.labels."
	LabelServiceAccount  = "k8s:io.cilium.k8s.policy.serviceaccount"
	LabelCluster         = "k8s:io.cilium.k8s.policy.cluster"
	LabelReservedPrefix  = "reserved:"
	LabelNodePrefix      = "node:"
	LabelNamePrefix      = "fqdn:"
)

// IdentityLabels is one identity and the labels that it stands for.
type IdentityLabels struct {
	Identity Identity
	Labels   Labels
}

// Address says which identity an address or CIDR has, and whose it is. The longest
// prefix that holds an address decides.
type Address struct {
	Prefix   netip.Prefix
	Identity Identity
	// Node is the node that the address is on; "" if it is on none.
	Node string
	// Namespace, Pod and Workload name the pod; "" if it is none.
	Namespace, Pod, Workload string
	// Service is the service whose virtual address it is, "namespace/name"; "" if it is none's.
	Service string
}
