package policy

import "net/netip"

// NodePolicy is what one node must enforce: sorted, and equal for equal input.
type NodePolicy struct {
	Node string
	// Endpoints are the node's pods, by Key, from when they are scheduled to it. Those that
	// no policy selects have no tables; host-network pods are here only if one selects them.
	Endpoints []EndpointPolicy
	// Tables are the verdict tables that Endpoints name, by ID.
	Tables []Table
	// Classes are the rule classes that the tables' entries name, by ID.
	Classes []Class
	// Applied are the policies that select one of the node's pods, by Ref.
	Applied []AppliedPolicy
	// Addresses say who is behind every address of the cluster and of the policies'
	// CIDRs, by Prefix. They are the same on every node, but for what is IdentityHost.
	Addresses []Address
	// Identities are the labels of the identities in Addresses and of the reserved ones, by number.
	Identities []IdentityLabels
	// Secrets are those that Classes name and that can be read, by ID.
	Secrets []Secret
	// Problems are what the node itself had to close ([WithLearnt]); the operator's are not in it.
	Problems []Problem
}

// EndpointPolicy is one pod and the tables that judge its traffic.
type EndpointPolicy struct {
	Key      string
	UID      string
	Identity Identity
	// Addrs are empty until the pod has its addresses.
	Addrs []netip.Addr
	// HostNetwork pods cannot be enforced; they are here so that this is reported.
	HostNetwork bool
	// Ingress and Egress are Table IDs; "" means that no policy selects the direction,
	// and everything is allowed in it.
	Ingress, Egress TableID
}

// TableID names a Table by the rules it is made of: pods with the same rules share it.
type TableID string

// Table is the verdicts of one direction, shared by all endpoints that the same rules select.
type Table struct {
	ID        TableID
	Direction Direction
	// DefaultDeny is what happens to a packet that no entry matches.
	DefaultDeny bool
	// AuditRest is true where policies in Audit mode alone would deny what no entry matches: it
	// goes on and is reported. DefaultDeny then is false.
	AuditRest bool
	// Denying are the policies that deny what no entry matches, or would but for AuditRest, sorted.
	Denying []Ref
	// Audit is true where every policy in the table is in Audit mode.
	Audit bool
	// Entries are sorted by Identity, Protocol, Port, PrefixLen. For one packet the
	// entries of the peer's own identity are asked first, then those of IdentityAny;
	// in each, the most specific (Protocol, Port/PrefixLen) decides. Each entry is
	// already the union of all rules that apply to what it matches.
	Entries []Entry
}

// Entry is one verdict.
type Entry struct {
	Identity Identity
	// Protocol 0 is every protocol; Port then is 0 with PrefixLen 0.
	Protocol Protocol
	// Port with PrefixLen is a range of destination ports: the ports whose PrefixLen
	// highest bits are Port's. 16 is one port, 0 every port. For ICMP the port is the
	// type in the high byte, with PrefixLen 8 (one type) or 0.
	Port      uint16
	PrefixLen uint8
	Verdict   Verdict
	// Class is set when Verdict is Redirected.
	Class ClassID
	// Rules are the rules that made the entry, sorted; the first is the one that events name.
	Rules []RuleID
}

// Verdict is what happens to a packet, connection or request.
type Verdict uint8

// The verdicts. Redirected leaves it to the class's L7 rules.
const (
	Denied     Verdict = 0
	Forwarded  Verdict = 1
	Redirected Verdict = 2
	Audited    Verdict = 3
)

// ClassID names a Class by its direction and by which rules it holds (policy and path),
// not by their text: an edited rule keeps its class.
type ClassID string

// Class is a set of L7 rules of one kind that are judged together, by one listener.
type Class struct {
	ID   ClassID
	Kind Kind
	// Direction is that of the tables that lead to the class.
	Direction Direction
	// HTTP are the rules of a class of KindHTTP, sorted by ID. Denies are looked at before allows.
	HTTP []HTTPRule
	// DNS are the rules of a class of KindDNS, sorted by ID.
	DNS []DNSRule
	// TLS are the rules of a class of KindTLS on server names, sorted by ID.
	TLS []TLSRule
	// Kafka are the rules of a class of KindKafka, as HTTP are.
	Kafka []KafkaRule
	// AllowAll is set when an L4 rule allows what no L7 rule denies: everything else
	// goes on and is seen. It is the L4 rule that does so.
	AllowAll *RuleID
	// AuditRest is true when AllowAll is an L7 rule in Audit mode: what no other rule
	// allows goes on and is reported.
	AuditRest bool
	// AuditAll is set when a rule on layers 3 and 4 that audits denies all of it: what the class
	// lets through is reported as refused by that rule.
	AuditAll *RuleID
	// Audit is true where nothing is to be refused.
	Audit bool
	// Failure is FailOpen where connections go on unjudged while the proxy cannot judge them.
	Failure Failure
}

// AppliedPolicy is a policy and the generation of it that a NodePolicy holds.
type AppliedPolicy struct {
	Ref        Ref
	UID        string
	Generation int64
}
