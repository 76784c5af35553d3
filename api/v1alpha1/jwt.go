package v1alpha1

// JWTMatch is a condition on the JSON Web Token that a request carries. The
// token must be signed by one of the issuer's keys, must have an end (claim
// exp) that is not over and, if it has one, a beginning (nbf) that has come;
// a minute is allowed for clocks that differ. It goes on to the server as it
// came. A request with the token's header twice, or with anything else in it,
// carries no token.
//
// +kubebuilder:validation:ExactlyOneOf=jwks;jwksURI
type JWTMatch struct {
	// The token's issuer: the claim iss, letter by letter.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=512
	Issuer string `json:"issuer"`

	// Whom the token is for: the claim aud is, or has, one of these. Without
	// them a token that the issuer made for another service will do, too.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	Audiences []string `json:"audiences,omitempty"`

	// The issuer's public keys, as a JSON Web Key Set: `{"keys": [...]}` with
	// 1 to 16 keys to verify signatures with, of RSA (2048 to 8192 bits, RS256
	// to PS512), EC (P-256, P-384 and P-521, ES256 to ES512) or Ed25519
	// (EdDSA). Keys for encryption are passed over. A shared secret (oct,
	// HS256) or a private key is refused: who can read the policy could make
	// tokens with it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=16384
	JWKS string `json:"jwks,omitempty"`

	// Where the issuer's keys would be fetched from. Not supported yet: the
	// entry allows nothing, and the condition Accepted says so. Put the keys
	// into `jwks`.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^https?://`
	JWKSURI string `json:"jwksURI,omitempty"`

	// Claims that the token must have, all of them.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=map
	// +listMapKey=name
	Claims []JWTClaim `json:"claims,omitempty"`

	// The header that is the token, and nothing besides, compared without
	// case. Without it the token is in the header Authorization, behind
	// `Bearer` and a space.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	// +kubebuilder:validation:Pattern="^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['host', 'authorization', 'cookie'])",message="host and cookie hold no token, and authorization is the default"
	Header string `json:"header,omitempty"`
}

// JWTClaim is a claim and what it must be. The claim is a text, or a list
// in which one text is enough; numbers, true and false are like no value.
//
// +kubebuilder:validation:ExactlyOneOf=values;words
type JWTClaim struct {
	// The claim's name, by case. A dot leads into an object:
	// `realm_access.roles` is the claim roles in the claim realm_access. A dot
	// that is part of a name has a backslash before it, and so has a
	// backslash: `https://example\.com/roles`.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// The claim is one of these.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=256
	// +listType=set
	Values []string `json:"values,omitempty"`

	// The claim, words with spaces between them such as those of `scope`, has
	// one of these words.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=256
	// +kubebuilder:validation:items:Pattern=`^[^ ]+$`
	// +listType=set
	Words []string `json:"words,omitempty"`
}
