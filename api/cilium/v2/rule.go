package v2

// Rule is a subject and what it may do. Exactly one of endpointSelector
// and nodeSelector is set, and at least one of ingress, ingressDeny,
// egress and egressDeny.
//
// +kubebuilder:validation:XValidation:rule="has(self.endpointSelector) != has(self.nodeSelector)",message="exactly one of endpointSelector and nodeSelector must be set",fieldPath=".endpointSelector"
// +kubebuilder:validation:XValidation:rule="has(self.ingress) || has(self.ingressDeny) || has(self.egress) || has(self.egressDeny)",message="at least one of ingress, ingressDeny, egress and egressDeny must be set"
type Rule struct {
	// The pods that the rule applies to. In a namespaced policy it is always
	// about the policy's own namespace, whatever it says. {} is every pod.
	// +optional
	EndpointSelector *LabelSelector `json:"endpointSelector,omitempty"`

	// The nodes that the rule applies to, in cluster-wide policies. Not
	// enforced by Septum: such a rule applies to nothing, and the condition
	// Accepted says so.
	// +optional
	NodeSelector *LabelSelector `json:"nodeSelector,omitempty"`

	// What the subject accepts. [{}] lets nothing in; an empty list alone is
	// invalid.
	// +optional
	Ingress []IngressRule `json:"ingress,omitzero"`

	// What the subject refuses, whatever any rule allows.
	// +optional
	IngressDeny []IngressDenyRule `json:"ingressDeny,omitzero"`

	// What the subject may connect to. [{}] lets nothing out; an empty list
	// alone is invalid.
	// +optional
	Egress []EgressRule `json:"egress,omitzero"`

	// What the subject may not connect to, whatever any rule allows.
	// +optional
	EgressDeny []EgressDenyRule `json:"egressDeny,omitzero"`

	// Labels of the rule itself, for people. They select nothing.
	// +optional
	Labels []RuleLabel `json:"labels,omitempty"`

	// Whether the subject refuses what no rule allows, for each direction. By
	// default it does in each direction that has rules.
	// +optional
	EnableDefaultDeny *DefaultDeny `json:"enableDefaultDeny,omitempty"`

	// What the rule is for, in words.
	// +optional
	Description string `json:"description,omitempty"`

	// What flows of the rule are to be marked with.
	// +optional
	Log *LogConfig `json:"log,omitempty"`
}

// DefaultDeny says for each direction whether what no rule allows is
// refused.
type DefaultDeny struct {
	// Incoming traffic.
	// +optional
	Ingress *bool `json:"ingress,omitempty"`
	// Outgoing traffic.
	// +optional
	Egress *bool `json:"egress,omitempty"`
}

// RuleLabel is a label of a rule.
type RuleLabel struct {
	// The label's key.
	Key string `json:"key"`
	// The label's value.
	// +optional
	Value string `json:"value,omitempty"`
	// Where the label comes from.
	// +optional
	Source string `json:"source,omitempty"`
}

// LogConfig is what flows are marked with.
type LogConfig struct {
	// The mark: at most 32 printable characters.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern=`^\PC*$`
	Value string `json:"value,omitempty"`
}

// IngressRule is one reason to accept traffic; all of its parts must hold.
type IngressRule struct {
	IngressPeers `json:",inline"`

	// The ports, each with what may be asked on it. Left out: every port.
	// +optional
	ToPorts []PortRule `json:"toPorts,omitzero"`

	// The ICMP messages; not together with toPorts.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitzero"`

	// Mutual authentication that is demanded. Not supported by Septum yet,
	// other than `disabled`: the rule allows nothing, and the condition
	// Accepted says so.
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
}

// IngressDenyRule is one reason to refuse traffic; all of its parts must
// hold.
type IngressDenyRule struct {
	IngressPeers `json:",inline"`

	// The ports. Left out: every port.
	// +optional
	ToPorts []PortDenyRule `json:"toPorts,omitzero"`

	// The ICMP messages; not together with toPorts.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitzero"`
}

// EgressRule is one reason to let the subject connect; all of its parts
// must hold.
type EgressRule struct {
	EgressPeers `json:",inline"`

	// The ports, each with what may be asked on it. Left out: every port.
	// +optional
	ToPorts []PortRule `json:"toPorts,omitzero"`

	// Destinations by DNS name; alone in its rule. Not supported by Septum
	// yet: the rule allows nothing, and the condition Accepted says so.
	// +optional
	ToFQDNs []FQDNSelector `json:"toFQDNs,omitzero"`

	// The ICMP messages; not together with toPorts.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitzero"`

	// Mutual authentication that is demanded. Not supported by Septum yet,
	// other than `disabled`: the rule allows nothing, and the condition
	// Accepted says so.
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
}

// EgressDenyRule is one reason not to let the subject connect; all of its
// parts must hold.
type EgressDenyRule struct {
	EgressPeers `json:",inline"`

	// The ports. Left out: every port.
	// +optional
	ToPorts []PortDenyRule `json:"toPorts,omitzero"`

	// The ICMP messages; not together with toPorts.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitzero"`
}

// Authentication is mutual authentication.
type Authentication struct {
	// disabled demands nothing, required demands it, test-always-fail lets
	// nobody in.
	// +kubebuilder:validation:Enum=disabled;required;test-always-fail
	Mode string `json:"mode"`
}
