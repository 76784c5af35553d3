package v2

// L7Rules are what may be asked, of exactly one kind. An empty list is the
// same as none.
//
// Fields that the API does not know are kept, so that a rule of an unknown
// kind is seen and closed, instead of being dropped and its ports opened.
//
// +kubebuilder:pruning:PreserveUnknownFields
type L7Rules struct {
	// The HTTP requests that are allowed, as alternatives; [{}] allows every
	// request.
	// +optional
	HTTP []HTTPRule `json:"http,omitzero"`

	// The Kafka requests that are allowed, as alternatives. Not supported by
	// Septum yet: the rule allows nothing, and the condition Accepted says so.
	// +optional
	Kafka []KafkaRule `json:"kafka,omitzero"`

	// The DNS names that may be asked for, as alternatives, whatever the type
	// of the record; on egress only. Other questions are answered REFUSED.
	// +optional
	DNS []FQDNSelector `json:"dns,omitzero"`

	// The name of a parser of Cilium's Envoy. Not supported by Septum: the
	// rule allows nothing, and the condition Accepted says so.
	// +optional
	L7Proto string `json:"l7proto,omitempty"`

	// What the parser is to match.
	// +optional
	L7 []L7Rule `json:"l7,omitzero"`
}

// L7Rule is what a parser is to match.
type L7Rule map[string]string

// HTTPRule describes HTTP requests; all of its conditions must hold. Path,
// method and host are expressions in RE2 syntax over the whole string:
// /public matches neither /public/ nor /publicity.
type HTTPRule struct {
	// The request's path, with its query, as an expression.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// The request's method, as an expression, compared by case.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Method string `json:"method,omitempty"`

	// The request's host, as an expression, compared without case, port and
	// trailing dot.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Host string `json:"host,omitempty"`

	// Headers that must be there: "X-Token: value" or "X-Token value" with
	// that value, "X-Token" with any.
	// +optional
	Headers []string `json:"headers,omitempty"`

	// Headers that must match, and what to do with those that do not.
	// +optional
	HeaderMatches []HeaderMatch `json:"headerMatches,omitempty"`
}

// HeaderMatch is a condition on one header: with a value it must have it,
// without one it must be there.
type HeaderMatch struct {
	// What to do with a request that does not match. Left out: it is refused.
	// LOG lets it through and logs it; ADD adds the value, DELETE takes the
	// header away, and REPLACE makes the value the header's only one. Every
	// rule whose conditions hold does so, not only the first.
	// +optional
	// +kubebuilder:validation:Enum=LOG;ADD;DELETE;REPLACE
	Mismatch string `json:"mismatch,omitempty"`

	// The header's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// The value, in a Secret of one entry, instead of value. A policy may name
	// Secrets of its own namespace, and of those that the administrator shares.
	// While the Secret cannot be read, the rule allows nothing, and the
	// condition ResolvedRefs says so.
	// +optional
	Secret *Secret `json:"secret,omitempty"`

	// The value.
	// +optional
	Value string `json:"value,omitempty"`
}

// KafkaRule describes Kafka requests; all of its conditions must hold.
//
// +kubebuilder:validation:AtMostOneOf=role;apiKey
type KafkaRule struct {
	// produce or consume: the requests that a client of that role needs.
	// +optional
	// +kubebuilder:validation:Enum=produce;consume
	Role string `json:"role,omitempty"`

	// One kind of request, by its name, such as fetch; not together with role.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	APIKey string `json:"apiKey,omitempty"`

	// The request's version, as a number.
	// +optional
	// +kubebuilder:validation:Pattern=`^[0-9]{0,5}$`
	APIVersion string `json:"apiVersion,omitempty"`

	// The client's id.
	// +optional
	ClientID string `json:"clientID,omitempty"`

	// The topic. Requests that have no topic are not restricted by it.
	// +optional
	// +kubebuilder:validation:MaxLength=255
	Topic string `json:"topic,omitempty"`
}
