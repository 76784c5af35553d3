package v1alpha1

// DNSName selects names of the DNS; exactly one member is set. Names are
// compared without case and trailing dot.
//
// +kubebuilder:validation:ExactlyOneOf=name;pattern
type DNSName struct {
	// The name itself, such as www.example.com. Names in other scripts are
	// written in their ASCII form (xn--…).
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[-a-zA-Z0-9_]{1,63}([.][-a-zA-Z0-9_]{1,63})*[.]?$`
	Name string `json:"name,omitempty"`

	// A pattern: * stands for any letters, digits, - and _ of one label, or
	// none; a leading **. for one or more labels; * alone is every name.
	// *.example.com is www.example.com, and neither example.com nor
	// a.b.example.com.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=254
	// +kubebuilder:validation:Pattern=`^[-a-zA-Z0-9_*]+([.][-a-zA-Z0-9_*]+)*[.]?$`
	Pattern string `json:"pattern,omitempty"`
}
