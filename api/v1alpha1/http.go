package v1alpha1

// HTTPRule describes HTTP requests. All of its conditions must hold; a
// condition that is left out holds for every request.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.jwt) && has(self.action) && self.action == 'Deny')",message="a Deny entry cannot have jwt, as a client would leave out its token; allow the tokens that are right",fieldPath=".jwt"
// +kubebuilder:validation:XValidation:rule="!(has(self.rateLimit) && has(self.action) && self.action == 'Deny')",message="a Deny entry cannot have rateLimit",fieldPath=".rateLimit"
type HTTPRule struct {
	// A name for the entry, by which flows, metrics and the status name it.
	// Without one they use its place ("ingress[0].http[1]").
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Allow lets the requests through. Deny refuses them, whatever other
	// entries and policies allow.
	// +optional
	// +kubebuilder:default=Allow
	Action RuleAction `json:"action,omitempty"`

	// The request's method is one of these, compared by case: GET is not get.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Methods []HTTPMethod `json:"methods,omitempty"`

	// The request's path, with its query: /data?x=1 is not `exact: /data`. It
	// is compared after normalisation: dot segments and empty segments are
	// resolved, and what is judged is what the server gets. A Deny entry
	// compares it with and without the query: `exact: /admin` also denies
	// /admin?x.
	// +optional
	Path *PathMatch `json:"path,omitempty"`

	// The request's host (the Host header or :authority) is one of these,
	// compared without case, port and trailing dot. `*.` at the beginning
	// stands for one or more labels: `*.example.com` is a.b.example.com, but
	// not example.com.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=set
	Hosts []Host `json:"hosts,omitempty"`

	// The request's headers, all of which must match. A header that comes more
	// than once must match in every value; in a Deny entry one value is enough,
	// so that a second one cannot hide it.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	Headers []HeaderMatch `json:"headers,omitempty"`

	// The request carries a valid JSON Web Token of this issuer, with these
	// claims. Allow entries alone can have it: who is denied for what is in
	// a token would leave the token out.
	// +optional
	JWT *JWTMatch `json:"jwt,omitempty"`

	// The entry lets no more requests through than this. What is above it gets
	// 429 "Too many requests" (gRPC: RESOURCE_EXHAUSTED). Allow entries alone
	// can have it.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// HTTPMethod is a method such as GET; any token of RFC 9110 will do.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:Pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
type HTTPMethod string

// PathMatch compares a path; exactly one member is set.
//
// +kubebuilder:validation:ExactlyOneOf=exact;prefix;regex
type PathMatch struct {
	// The whole path and query.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/') || self == '*'",message="must begin with a slash"
	Exact string `json:"exact,omitempty"`

	// The beginning of the path, letter by letter: `/pub` is the beginning of
	// /public, and `/pub/` of what is below /pub/ only.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:XValidation:rule="self.startsWith('/')",message="must begin with a slash"
	Prefix string `json:"prefix,omitempty"`

	// An expression in RE2 syntax over the whole path and query:
	// `/v[0-9]+/data` matches /v1/data, but not /v1/data/ or /api/v1/data.
	// There is no look-around and there are no back-references.
	// +optional
	Regex Regex `json:"regex,omitempty"`
}

// Regex is an expression in RE2 syntax: no look-around, no
// back-references.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:XValidation:rule="'x'.matches(self) ? true : true",message="must be an expression in RE2 syntax"
type Regex string

// Host is a host name; `*.` at its beginning stands for one or more
// labels.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=253
// +kubebuilder:validation:Pattern=`^(\*\.)?([-a-zA-Z0-9_]+\.)*[-a-zA-Z0-9_]+$|^[0-9a-fA-F:.]+$|^\[[0-9a-fA-F:.]+\]$`
type Host string

// HeaderMatch compares one header. With a name alone the header must be
// there, with whatever value.
//
// +kubebuilder:validation:AtMostOneOf=exact;prefix;regex
type HeaderMatch struct {
	// The header's name, compared without case. The host is matched with
	// `hosts`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="self.lowerAscii() != 'host'",message="match the host with `hosts`"
	Name string `json:"name"`

	// The whole value.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Exact string `json:"exact,omitempty"`

	// The beginning of the value.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=4096
	Prefix string `json:"prefix,omitempty"`

	// An expression in RE2 syntax over the whole value.
	// +optional
	Regex HeaderRegex `json:"regex,omitempty"`
}

// HeaderRegex is an expression in RE2 syntax: no look-around, no
// back-references.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:XValidation:rule="'x'.matches(self) ? true : true",message="must be an expression in RE2 syntax"
type HeaderRegex string

// GRPCRule describes gRPC calls. All of its conditions must hold.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.jwt) && has(self.action) && self.action == 'Deny')",message="a Deny entry cannot have jwt, as a client would leave out its token; allow the tokens that are right",fieldPath=".jwt"
// +kubebuilder:validation:XValidation:rule="!(has(self.rateLimit) && has(self.action) && self.action == 'Deny')",message="a Deny entry cannot have rateLimit",fieldPath=".rateLimit"
// +kubebuilder:validation:XValidation:rule="!has(self.methods) || has(self.service)",message="methods need a service",fieldPath=".methods"
type GRPCRule struct {
	// A name for the entry, by which flows, metrics and the status name it.
	// Without one they use its place ("ingress[0].grpc[1]").
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Name string `json:"name,omitempty"`

	// Allow lets the calls through. Deny refuses them, whatever other entries
	// and policies allow.
	// +optional
	// +kubebuilder:default=Allow
	Action RuleAction `json:"action,omitempty"`

	// The service's full name, with its package: helloworld.Greeter. Without
	// it, every call of every service.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*$`
	Service string `json:"service,omitempty"`

	// The service's methods, as alternatives. Without them, every method of
	// the service.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +listType=set
	Methods []GRPCMethod `json:"methods,omitempty"`

	// The call carries a valid JSON Web Token of this issuer, with these
	// claims, as in an http entry.
	// +optional
	JWT *JWTMatch `json:"jwt,omitempty"`

	// The entry lets no more calls through than this, as in an http entry. Of
	// several methods each has the rate of its own.
	// +optional
	RateLimit *RateLimit `json:"rateLimit,omitempty"`
}

// GRPCMethod is a method such as SayHello.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=128
// +kubebuilder:validation:Pattern=`^[A-Za-z_][A-Za-z_0-9]*$`
type GRPCMethod string
