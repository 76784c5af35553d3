package policy

import "net/netip"

// Snapshot is everything that decides, at one moment. ingest.Snapshot sorts it: Nodes by
// name, Endpoints and Services by Key, Policies by Ref, Identities by number.
type Snapshot struct {
	Nodes      []Node
	Endpoints  []Endpoint
	Services   []Service
	Policies   []Policy
	Identities []IdentityLabels
	// APIServer holds the addresses of the API server (the endpoints and the virtual
	// address of the service default/kubernetes).
	APIServer []netip.Addr
	// Secrets are the values that policies name and that could be read, by ID.
	Secrets []Secret
	// SecretKeys are the Secrets that policies name, as "namespace/name", sorted: also those
	// that could not be read.
	SecretKeys []string
}

// Node is a cluster node.
type Node struct {
	Name  string
	Addrs []netip.Addr
	// PodCIDRs are the ranges that the node gives to its pods, if the cluster says so.
	PodCIDRs []netip.Prefix
	// Labels have the source "node:".
	Labels Labels
}

// Endpoint is a pod that has addresses of its own or is about to get them on its node, or
// (HostNetwork) shares its node's.
type Endpoint struct {
	// Key is "namespace/name".
	Key string
	UID string
	// Node is the name of the node it runs on.
	Node string
	// Workload is the name of the controller ("backend-app"), "" if it has none.
	Workload string
	Identity Identity
	Labels   Labels
	// Addrs are the pod's addresses, in the order of status.podIPs.
	Addrs []netip.Addr
	// HostNetwork pods are their node: no policy can select them, and that is reported.
	HostNetwork bool
	// Ports are the container ports that have a name.
	Ports []NamedPort
}

// NamedPort is a container port with a name.
type NamedPort struct {
	Name     string
	Protocol Protocol
	Port     uint16
}

// Service is a service with virtual addresses.
type Service struct {
	// Key is "namespace/name".
	Key      string
	Labels   Labels
	Addrs    []netip.Addr // cluster, external and load-balancer addresses
	Ports    []ServicePort
	Headless bool
}

// ServicePort is one port of a service and its ready backends.
type ServicePort struct {
	Name     string
	Protocol Protocol
	Port     uint16
	Backends []netip.AddrPort
}

// Protocol is an IP protocol number; ProtocolAny is every one.
type Protocol uint8

// The protocols that policies can name.
const (
	ProtocolAny    Protocol = 0
	ProtocolICMP   Protocol = 1
	ProtocolTCP    Protocol = 6
	ProtocolUDP    Protocol = 17
	ProtocolICMPv6 Protocol = 58
	ProtocolSCTP   Protocol = 132
)

// Direction is seen from the endpoint that the policy selects.
type Direction uint8

// The directions.
const (
	Ingress Direction = 0
	Egress  Direction = 1
)
