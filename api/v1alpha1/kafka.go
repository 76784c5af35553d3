package v1alpha1

// KafkaRule describes Kafka requests; all of its conditions must hold. Rules
// are judged for each topic of a request by itself: topics that are allowed go
// on, and the others are answered with TOPIC_AUTHORIZATION_FAILED. An entry
// without conditions ({}) matches every request.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.role) && has(self.apiKeys))",message="role and apiKeys cannot both be set",fieldPath=".apiKeys"
type KafkaRule struct {
	// The entry's name, in events and in the policy's status.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Name string `json:"name,omitempty"`

	// Allow or Deny. Entries with Deny are looked at before those that allow,
	// of whichever policy.
	// +optional
	// +kubebuilder:default=Allow
	Action RuleAction `json:"action,omitempty"`

	// produce or consume: the requests that a client of that role sends,
	// with those for its transactions or its group.
	// +optional
	Role KafkaRole `json:"role,omitempty"`

	// The kinds of requests, by Kafka's names for them, such as Fetch or
	// CreateTopics; not together with role. Without both, every request.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	APIKeys []KafkaAPIKey `json:"apiKeys,omitempty"`

	// The versions of the requests. Without them, every version.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=0
	// +kubebuilder:validation:items:Maximum=32767
	// +listType=set
	APIVersions []int32 `json:"apiVersions,omitempty"`

	// The clients' ids, as alternatives. A client calls itself what it likes.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=255
	// +listType=set
	ClientIDs []string `json:"clientIDs,omitempty"`

	// The topics, as alternatives. Requests of a client's own group,
	// transaction and connection have none and are not restricted by it; what
	// administers the cluster or its topics needs an entry without topics.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=atomic
	Topics []KafkaTopic `json:"topics,omitempty"`
}

// KafkaRole is produce or consume.
//
// +kubebuilder:validation:Enum=produce;consume
type KafkaRole string

// KafkaAPIKey is Kafka's name of a kind of requests.
//
// +kubebuilder:validation:MaxLength=64
type KafkaAPIKey string

// KafkaTopic selects topics in one way.
//
// +kubebuilder:validation:ExactlyOneOf=exact;prefix
type KafkaTopic struct {
	// The topic's name.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=249
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9._-]+$`
	Exact string `json:"exact,omitempty"`

	// What the topic's name begins with.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=249
	// +kubebuilder:validation:Pattern=`^[a-zA-Z0-9._-]+$`
	Prefix string `json:"prefix,omitempty"`
}
