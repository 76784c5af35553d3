package policy

// Problem is a mistake in a policy, or something in it that cannot be enforced: what it
// names is closed, never open.
type Problem struct {
	Policy Ref
	// Path is the field, such as "spec.ingress[0].toPorts[0].ports[0].port".
	Path   string
	Reason ProblemReason
	// Message says what is wrong and what would be right.
	Message string
	// Warning problems change nothing that is enforced.
	Warning bool
}

// ProblemReason is a machine-readable word, used as a condition's reason.
type ProblemReason string

// The reasons.
const (
	ReasonInvalid      ProblemReason = "Invalid"
	ReasonUnsupported  ProblemReason = "Unsupported"
	ReasonUnresolved   ProblemReason = "UnresolvedRef"
	ReasonConflict     ProblemReason = "Conflict"
	ReasonUnknownField ProblemReason = "UnknownField"
	ReasonNoMatch      ProblemReason = "CanNotMatch"
	// ReasonPartly warns of a service of which only some backends are allowed.
	ReasonPartly ProblemReason = "PartlyAllowed"
)
