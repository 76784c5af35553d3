package v1alpha1

// TLSRule describes TLS connections by the server name (SNI) that the client
// asks for in the clear. The connections are passed on as they are: nothing
// inside of them is looked at.
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
}

// ServerName is the name of a TLS server, or a pattern for such names.
//
// +kubebuilder:validation:MinLength=1
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:Pattern=`^([*][*][.])?([-a-zA-Z0-9_*]+[.])*[-a-zA-Z0-9_]*[-a-zA-Z_][-a-zA-Z0-9_]*[.]?$`
type ServerName string
