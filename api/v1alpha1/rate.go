package v1alpha1

// RateLimit is how many requests an entry lets through: a bucket of `burst`
// requests that fills evenly, with `requests` in each second, minute or hour.
//
// It is counted on each node for itself, and for each entry by itself, over all
// pods and peers that the entry is for. Entries without a rate are asked first:
// what one of them lets through is not counted. Of several entries with a rate
// that hold for a request the first counts it, by the policies' names and the
// entries' places. Nothing is counted in Audit mode, or where another rule lets
// everything through. A change of the policies for the same peer and port may
// begin the count anew.
type RateLimit struct {
	// How many requests.
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Requests int32 `json:"requests"`

	// In which time.
	// +kubebuilder:validation:Enum=Second;Minute;Hour
	Per string `json:"per"`

	// How many requests can come at once; as many as `requests` if it is left
	// out.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Burst int32 `json:"burst,omitempty"`
}
