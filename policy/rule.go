package policy

import "net/netip"

// Ref names a policy object.
type Ref struct {
	// Kind is L7NetworkPolicy, ClusterL7NetworkPolicy, CiliumNetworkPolicy or
	// CiliumClusterwideNetworkPolicy.
	Kind string
	// Namespace is "" for a cluster-wide policy.
	Namespace string
	Name      string
}

// RuleID names a rule for people and machines: the policy, the place in its YAML, and
// the rule's own name if it has one.
type RuleID struct {
	Policy Ref
	// Path is where the rule stands, such as "spec.ingress[0].toPorts[0].rules.http[1]".
	Path string
	// Name is the rule's own name; "" if it has none.
	Name string
}

// Policy is one policy object of either API, with what could not be expressed already
// made closed: a rule that is wrong is left out of the allows, and its Section still
// begins default deny. A deny rule that is wrong denies more, never less.
type Policy struct {
	Ref        Ref
	UID        string
	Generation int64
	Mode       Mode
	Failure    Failure
	Specs      []Spec
}

// Mode says whether a policy's refusals are carried out.
type Mode uint8

// The modes.
const (
	Enforce Mode = 0
	// Audit refuses nothing: what would have been refused is reported as Audit.
	Audit Mode = 1
)

// Failure says what becomes of a new connection that the policy's L7 rules would decide,
// where the node's proxy cannot judge it.
type Failure uint8

// The failure policies.
const (
	// FailClosed refuses it.
	FailClosed Failure = 0
	// FailOpen lets it go on without judgement. A class is so only if all policies that it
	// has L7 rules of are.
	FailOpen Failure = 1
)

// Spec is one subject and what it may do.
type Spec struct {
	// Path is "spec" or "specs[1]".
	Path string
	// Subject selects endpoints. In a namespaced policy it carries the namespace.
	Subject Selector
	Ingress Section
	Egress  Section
}

// Section is one direction of a Spec.
type Section struct {
	// DefaultDeny is true when the section denies what no rule allows.
	DefaultDeny bool
	Rules       []Rule
}

// Rule is one (ingress[i], toPorts[j]) pair: who, on which ports, with which L7 part.
type Rule struct {
	// ID.Path is "spec.ingress[0].toPorts[0]", or "spec.ingress[0]" for a rule without ports.
	ID     RuleID
	Action Action
	// Audit makes a deny rule report what it would have refused. What an allow rule reports is
	// said by its L7 part.
	Audit bool
	// Peers are alternatives. AnyPeer stands for every peer; no Peers without it selects nothing.
	AnyPeer bool
	Peers   []Peer
	// Ports are alternatives. None means every port of every protocol.
	Ports []Port
	// L7 is nil for a rule on layers 3 and 4 only.
	L7 L7
}

// Action is what a rule does with what it matches.
type Action uint8

// The actions. Deny is looked at before Allow.
const (
	Allow Action = 0
	Deny  Action = 1
)

// Peer is one way to select the other side; exactly one field is set.
type Peer struct {
	// Selector selects identities by their labels (pods, and reserved ones by "reserved:").
	Selector *Selector
	// CIDR selects addresses that are not pods' or nodes'.
	CIDR *CIDR
	// Services selects the backends of services by their keys "namespace/name".
	Services []string
	// Name selects the addresses that nodes have learnt for names of the DNS (egress only).
	Name NamePattern
}

// CIDR is a range less its exceptions.
type CIDR struct {
	Prefix netip.Prefix
	Except []netip.Prefix
}

// Port selects destination ports. Port 0 is every port of the protocol.
type Port struct {
	Protocol Protocol
	Port     uint16
	// EndPort is the last port of a range; 0 if there is no range.
	EndPort uint16
	// Name is a named port, resolved for each endpoint; Port is 0 then.
	Name string
	// ICMPType is the ICMP type for the protocols ICMP and ICMPv6; -1 is every type.
	ICMPType int16
}

// Selector selects labels. Every requirement must hold; a Selector with none selects
// every set of labels that has the "k8s:" source (pods), never reserved identities.
type Selector struct {
	Requirements []Requirement
}

// Requirement is one condition on labels. Key has its source ("k8s:app"); the source
// "any:" matches a key of any source.
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string
}

// Operator is how a Requirement compares.
type Operator uint8

// The operators, as in Kubernetes label selectors.
const (
	In           Operator = 0
	NotIn        Operator = 1
	Exists       Operator = 2
	DoesNotExist Operator = 3
)

// HTTP allows the requests that match one of its rules; gRPC rules are HTTP rules on
// method and path. No rules allow nothing: ingest makes `http: []` an L4 rule.
type HTTP struct {
	Rules []HTTPRule
	// Audit lets through, and reports, what the rules refuse. The deny rules in it have
	// Audit too.
	Audit bool
}

// HTTPRule holds when every condition holds.
type HTTPRule struct {
	// ID.Path is "spec.ingress[0].toPorts[0].rules.http[0]".
	ID     RuleID
	Action Action
	// Audit is true for the rules of a policy or rule that audits: a deny rule reports what it
	// would have refused, and what is unclear by it alone is reported.
	Audit bool
	// Methods are alternatives, compared by case; none is every method.
	Methods []StringMatch
	// Path is compared with the normalised path and its query, in a deny rule also without
	// the query; the zero value is every path.
	Path StringMatch
	// Hosts are alternatives, compared in lower case, without port and trailing dot; none is every host.
	Hosts []StringMatch
	// Names are those of the TLS connections that the rule is about, in a class that inspects
	// them; none is every name.
	Names []ServerName
	// Headers must all hold, but for those with a Mismatch that lets requests through.
	Headers []HeaderMatch
	// JWT is nil for no condition on a token. Allow rules alone have it.
	JWT *JWT
	// Rate is how many requests the rule lets through. Allow rules alone have it.
	Rate Rate
}

// HeaderMatch is a condition on one header. A header that comes more than once must
// match in every value; in a deny rule one value is enough, so that a second one
// cannot hide it. A proxy sees several values joined by commas: what could be one value or
// several matches an expression in no allow rule.
type HeaderMatch struct {
	// Name is in lower case.
	Name string
	// Value MatchAny is a presence match.
	Value StringMatch
	// Mismatch other than MismatchRefuse makes it no condition: it then says what is done
	// with a header that does not match. Allow rules alone have it, with MatchExact or MatchAny.
	Mismatch Mismatch
	// Secret names the secret that holds the value; Value is MatchAny until NodePolicy.Reveal.
	Secret SecretID
}

// StringMatch compares one string. The zero value matches every string.
type StringMatch struct {
	Kind  MatchKind
	Value string
}

// MatchKind is how a StringMatch compares.
type MatchKind uint8

// The kinds. A Regex is RE2 and must match the whole string.
const (
	MatchAny    MatchKind = 0
	MatchExact  MatchKind = 1
	MatchPrefix MatchKind = 2
	MatchRegex  MatchKind = 3
)
