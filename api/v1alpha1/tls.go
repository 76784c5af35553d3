package v1alpha1

// TLSRule describes TLS connections by the server name (SNI) that the client
// asks for in the clear. Without inspect the connections are passed on as
// they are: nothing inside of them is looked at.
//
// +kubebuilder:validation:XValidation:rule="!has(self.inspect) || !has(self.inspect.issuer) || self.serverNames.all(n, !n.startsWith('**') && n.lastIndexOf('*') <= n.indexOf('.'))",message="clients take certificates with `*` in the first label only: with an issuer list the names, or patterns such as `*.example.com`",fieldPath=".serverNames"
type TLSRule struct {
	// The names, as alternatives. `*` stands for any characters of one label
	// (`*.example.com` is www.example.com, neither example.com nor
	// a.b.example.com), `**.` at the beginning for one or more labels. The
	// last label has no `*`. Names are compared without case and a trailing
	// dot. A connection without a name matches none.
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +listType=set
	ServerNames []ServerName `json:"serverNames"`

	// Look into the connections: the rule's http or grpc entries judge the
	// requests inside; without entries every request is allowed. Anything
	// inside that is not HTTP is refused.
	// +optional
	Inspect *TLSInspection `json:"inspect,omitempty"`
}

// ServerName is the name of a TLS server, or a pattern for such names.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:Pattern=`^([*][*][.])?([-a-zA-Z0-9_*]+[.])*[-a-zA-Z0-9_]*[-a-zA-Z_][-a-zA-Z0-9_]*[.]?$`
type ServerName string

// TLSInspection says how TLS is ended at the proxy and begun again, so that
// the rule's http or grpc entries judge what is inside. The server is
// verified: its certificate must be signed by serverCA and be for the name
// that the client asked for. The Secrets are in the policy's namespace, or in
// one that the administrator shares; while one cannot be used, the names are
// refused and the condition ResolvedRefs says why. A Secret that changes acts
// on new connections. Exactly one of certificate and issuer is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.certificate) != has(self.issuer)",message="exactly one of certificate and issuer must be set"
type TLSInspection struct {
	// The certificate that clients are shown, with its key: a Secret with
	// tls.crt and tls.key. Clients must trust who signed it.
	// +optional
	Certificate *SecretReference `json:"certificate,omitempty"`

	// The authority that signs a certificate for the names of the rule, which
	// clients are shown: a Secret with tls.crt and tls.key of a CA, followed
	// in tls.crt by the CAs above it, up to one that clients trust. The CA's
	// key stays with the operator; a new certificate, with a key of its own,
	// comes each day and holds for a week. A pattern can have `*` in its first
	// label only, with two labels after it.
	// +optional
	Issuer *SecretReference `json:"issuer,omitempty"`

	// Who must have signed the server's certificate: a Secret with ca.crt.
	ServerCA SecretReference `json:"serverCA"`

	// Who must have signed the certificate that clients must show: a Secret
	// with ca.crt. Without it clients are not asked for one.
	// +optional
	ClientCA *SecretReference `json:"clientCA,omitempty"`

	// The certificate that is shown to the server: a Secret with tls.crt and
	// tls.key. The client's own cannot be.
	// +optional
	ClientCertificate *SecretReference `json:"clientCertificate,omitempty"`
}

// SecretReference names a Secret.
type SecretReference struct {
	// The Secret's name.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// The Secret's namespace; the policy's if left out. A cluster-wide policy
	// must say it.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}
