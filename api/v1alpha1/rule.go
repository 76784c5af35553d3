package v1alpha1

// IngressRule is one reason to accept or refuse incoming traffic: who, on
// which ports, asking what. All of its parts must hold.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.http) || has(self.grpc)) || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'TCP' && (has(p.port) || has(p.name))))",message="http and grpc need ports, each with `protocol: TCP` and a port or name",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!(has(self.action) && self.action == 'Deny' && (has(self.http) || has(self.grpc)))",message="a Deny rule cannot have http or grpc; set `action: Deny` on the http or grpc entry of an Allow rule",fieldPath=".action"
// +kubebuilder:validation:XValidation:rule="!(has(self.http) && has(self.grpc))",message="http and grpc cannot be in one rule; write two rules",fieldPath=".grpc"
// +kubebuilder:validation:XValidation:rule="!(has(self.icmp) && has(self.ports))",message="icmp and ports cannot be in one rule; write two rules",fieldPath=".icmp"
// +kubebuilder:validation:XValidation:rule="has(self.from) || has(self.ports) || has(self.icmp)",message="an empty rule would be read as everyone by some and as nobody by others; for everyone write `from: [{entities: [all]}]`, to refuse everything set spec.defaultDeny"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'TCP' && (has(p.port) || has(p.name))))",message="tls needs ports, each with `protocol: TCP` and a port or name",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!(has(self.tls) && !has(self.tls.inspect) && (has(self.http) || has(self.grpc)))",message="http and grpc cannot look into TLS that is passed on: set tls.inspect, or leave out tls",fieldPath=".tls"
// +kubebuilder:validation:XValidation:rule="!(has(self.action) && self.action == 'Deny' && has(self.tls))",message="a Deny rule cannot have tls",fieldPath=".action"
type IngressRule struct {
	// The peers that the rule is about, as alternatives. Without `from` the
	// rule is about everyone, inside and outside of the cluster.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	From []IngressPeer `json:"from,omitempty"`

	TrafficRule `json:",inline"`
}

// EgressRule is one reason to let the subject connect, or to refuse it:
// whereto, on which ports, asking what. All of its parts must hold.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.http) || has(self.grpc)) || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'TCP' && (has(p.port) || has(p.name))))",message="http and grpc need ports, each with `protocol: TCP` and a port or name",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!(has(self.action) && self.action == 'Deny' && (has(self.http) || has(self.grpc)))",message="a Deny rule cannot have http or grpc; set `action: Deny` on the http or grpc entry of an Allow rule",fieldPath=".action"
// +kubebuilder:validation:XValidation:rule="!(has(self.http) && has(self.grpc))",message="http and grpc cannot be in one rule; write two rules",fieldPath=".grpc"
// +kubebuilder:validation:XValidation:rule="!(has(self.icmp) && has(self.ports))",message="icmp and ports cannot be in one rule; write two rules",fieldPath=".icmp"
// +kubebuilder:validation:XValidation:rule="has(self.to) || has(self.ports) || has(self.icmp)",message="an empty rule would be read as everyone by some and as nobody by others; for everyone write `to: [{entities: [all]}]`, to refuse everything set spec.defaultDeny"
// +kubebuilder:validation:XValidation:rule="!has(self.tls) || (has(self.ports) && self.ports.all(p, has(p.protocol) && p.protocol == 'TCP' && (has(p.port) || has(p.name))))",message="tls needs ports, each with `protocol: TCP` and a port or name",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!(has(self.tls) && !has(self.tls.inspect) && (has(self.http) || has(self.grpc)))",message="http and grpc cannot look into TLS that is passed on: set tls.inspect, or leave out tls",fieldPath=".tls"
// +kubebuilder:validation:XValidation:rule="!(has(self.action) && self.action == 'Deny' && has(self.tls))",message="a Deny rule cannot have tls",fieldPath=".action"
// +kubebuilder:validation:XValidation:rule="!has(self.dns) || (has(self.ports) && self.ports.all(p, !(has(p.protocol) && p.protocol == 'SCTP') && (has(p.port) || has(p.name))))",message="dns needs ports, each with a port (usually 53) or name, and UDP, TCP or no protocol",fieldPath=".ports"
// +kubebuilder:validation:XValidation:rule="!(has(self.dns) && has(self.action) && self.action == 'Deny')",message="a Deny rule cannot have dns; DNS rules name what is allowed",fieldPath=".action"
// +kubebuilder:validation:XValidation:rule="!(has(self.dns) && (has(self.http) || has(self.grpc) || has(self.tls)))",message="dns and http, grpc or tls cannot be in one rule; write two rules",fieldPath=".dns"
type EgressRule struct {
	// The destinations that the rule is about, as alternatives. Without `to`
	// the rule is about every destination, inside and outside of the cluster.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	To []EgressPeer `json:"to,omitempty"`

	// The DNS names that may be asked for, as alternatives, whatever the type
	// of the record, over UDP and TCP. Other questions are answered REFUSED
	// (or NXDOMAIN, if the cluster is set up so), and what is no DNS is dropped.
	// A DNS rule for every name is `dns: [{pattern: "*"}]`.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=atomic
	DNS []DNSName `json:"dns,omitempty"`

	TrafficRule `json:",inline"`
}

// TrafficRule is what rules of both directions share.
type TrafficRule struct {
	// A name for the rule, unique in the policy by convention. Flows, metrics
	// and the status name the rule by it; without one they use its place
	// ("ingress[0]").
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Allow lets what the rule describes through. Deny refuses it, whatever
	// any policy allows; a Deny rule is about peers and ports only.
	// +optional
	// +kubebuilder:default=Allow
	Action RuleAction `json:"action,omitempty"`

	// Audit reports what this rule would refuse, and lets it through. For a
	// rule with `action: Deny` that is all of it, where other rules let it
	// through. A rule with http, grpc, kafka, dns or tls entries opens its
	// ports to its peers, like a rule without them, also for what other
	// policies' entries do not allow; only entries with `action: Deny` of
	// rules that are enforced still refuse.
	// +optional
	Mode PolicyMode `json:"mode,omitempty"`

	// The destination ports, as alternatives. Without ports (and icmp) the
	// rule is about every port of every protocol.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=40
	// +listType=atomic
	Ports []Port `json:"ports,omitempty"`

	// The ICMP messages, as alternatives.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=40
	// +listType=atomic
	ICMP []ICMPType `json:"icmp,omitempty"`

	// The HTTP requests that are allowed, as alternatives, over HTTP/1.0, 1.1
	// and 2. The traffic must be HTTP: anything else on these ports is
	// refused. A request is allowed if it matches one entry of any policy and
	// no entry with `action: Deny`. An entry without conditions ({}) matches
	// every request.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	HTTP []HTTPRule `json:"http,omitempty"`

	// The gRPC calls that are allowed, as alternatives. A refused call ends
	// with status PERMISSION_DENIED.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	GRPC []GRPCRule `json:"grpc,omitempty"`

	// The Kafka requests that are allowed, as alternatives, topic by topic. The
	// traffic must be Kafka in plain text (SASL is passed on): anything else on
	// these ports is reset. A request is allowed for a topic if it matches one
	// entry of any policy and no entry with `action: Deny`.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Kafka []KafkaRule `json:"kafka,omitempty"`

	// The TLS connections that are allowed, by the server name that they ask
	// for. Anything on these ports that is not TLS, has no name or another
	// one is refused: the connection is reset.
	// +optional
	TLS *TLSRule `json:"tls,omitempty"`
}

// RuleAction is Allow or Deny.
//
// +kubebuilder:validation:Enum=Allow;Deny
type RuleAction string

// The actions.
const (
	ActionAllow RuleAction = "Allow"
	ActionDeny  RuleAction = "Deny"
)

// Port selects destination ports: those of the pod, after service
// translation.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.port) && has(self.name))",message="port and name cannot both be set",fieldPath=".name"
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || (has(self.port) && self.endPort >= self.port)",message="endPort needs a port that is not above it",fieldPath=".endPort"
type Port struct {
	// TCP, UDP or SCTP. Without a protocol the entry is about all three. Rules
	// with http or grpc need TCP, said explicitly.
	// +optional
	Protocol Protocol `json:"protocol,omitempty"`

	// The port's number. Without a port and name, every port of the protocol.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// The last port of a range that begins with port.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	EndPort *int32 `json:"endPort,omitempty"`

	// The name of a container port. On ingress it is looked up in the subject,
	// on egress in each peer. A pod that has no port of that name is not
	// reached by the entry.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:Pattern=`^([a-z0-9]-?)*[a-z](-?[a-z0-9])*$`
	Name string `json:"name,omitempty"`
}

// Protocol is TCP, UDP or SCTP.
//
// +kubebuilder:validation:Enum=TCP;UDP;SCTP
type Protocol string

// The protocols.
const (
	ProtocolTCP  Protocol = "TCP"
	ProtocolUDP  Protocol = "UDP"
	ProtocolSCTP Protocol = "SCTP"
)

// ICMPType selects ICMP messages by family and type.
type ICMPType struct {
	// IPv4 (ICMP) or IPv6 (ICMPv6).
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family"`

	// The message's type, such as 8 for an IPv4 echo request or 128 for an
	// IPv6 one. Without it, every type.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=255
	Type *int32 `json:"type,omitempty"`
}
