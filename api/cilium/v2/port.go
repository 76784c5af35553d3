package v2

import "k8s.io/apimachinery/pkg/util/intstr"

// PortRule is a list of ports, and what may be asked on them.
type PortRule struct {
	// The ports, as alternatives. An entry without ports is about none; "0" is
	// every port.
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Ports []PortProtocol `json:"ports,omitempty"`

	// TLS that is ended at the proxy, so that rules.http judges what is
	// inside: the Secret has the certificate that clients are shown. With
	// trustedCA, clients must show one of their own that it has signed. A
	// policy may name Secrets of its own namespace, and of those that the
	// administrator shares; while one cannot be used, the names are refused.
	// Without originatingTLS the server is spoken to without TLS.
	// +optional
	TerminatingTLS *TLSContext `json:"terminatingTLS,omitempty"`

	// TLS that the proxy begins again with the server, whose certificate must
	// be for the name that the client asked for and signed by ca.crt
	// (or trustedCA) of the Secret. With certificate or privateKey set, that
	// certificate is shown to the server. Only together with terminatingTLS:
	// alone the ports allow nothing.
	// +optional
	OriginatingTLS *TLSContext `json:"originatingTLS,omitempty"`

	// The names (SNI) that TLS connections may ask for, as alternatives, in
	// the clear. Anything on the ports that is not TLS, has no name or another
	// one is refused: the connection is reset. The ports must be TCP, said
	// explicitly, and not 0.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +listType=set
	ServerNames []ServerName `json:"serverNames,omitzero"`

	// A listener of a CiliumEnvoyConfig. Not supported by Septum: the rule
	// allows nothing, and the condition Accepted says so.
	// +optional
	Listener *Listener `json:"listener,omitempty"`

	// What may be asked, of one kind. Left out or {}: everything. With http
	// the ports must be TCP, said explicitly, and not 0; with dns UDP, TCP or
	// ANY, and not 0.
	// +optional
	Rules *L7Rules `json:"rules,omitempty"`
}

// PortDenyRule is a list of ports.
type PortDenyRule struct {
	// The ports, as alternatives. An entry without ports is about none; "0" is
	// every port.
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Ports []PortProtocol `json:"ports,omitempty"`
}

// PortProtocol is a port, or a range of them.
type PortProtocol struct {
	// A number, in quotes, or the name of a container port. "0" is every port.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	// +kubebuilder:validation:Pattern=`^(6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[0-9]{1,4}|([a-zA-Z0-9]-?)*[a-zA-Z](-?[a-zA-Z0-9])*)$`
	Port string `json:"port,omitempty"`

	// The last port of a range that begins with port.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	EndPort int32 `json:"endPort,omitempty"`

	// TCP, UDP, SCTP, or ANY (all three), which is also meant when it is left
	// out. The protocols without ports (VRRP, IGMP, GRE, IPIP, IPV6, ESP, AH)
	// are not supported by Septum yet: the port allows nothing, and the
	// condition Accepted says so.
	// +optional
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP;VRRP;IGMP;GRE;IPIP;IPV6;ESP;AH;ANY
	Protocol string `json:"protocol,omitempty"`
}

// ICMPRule is a list of ICMP messages.
type ICMPRule struct {
	// The messages, as alternatives.
	// +optional
	// +kubebuilder:validation:MaxItems=40
	Fields []ICMPField `json:"fields,omitempty"`
}

// ICMPField is an ICMP message.
type ICMPField struct {
	// IPv4 or IPv6.
	// +optional
	// +kubebuilder:default=IPv4
	// +kubebuilder:validation:Enum=IPv4;IPv6
	Family string `json:"family,omitempty"`

	// The message's type: a number from 0 to 255, or its name, such as
	// EchoRequest.
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:Pattern=`^([0-9]|[1-9][0-9]|1[0-9]{2}|2[0-4][0-9]|25[0-5]|[A-Z][A-Za-z0-9]{2,40})$`
	Type *intstr.IntOrString `json:"type"`
}

// ServerName is a TLS server name; * stands for any characters of one
// label, a leading **. for one or more labels. The last label has no *.
//
// +kubebuilder:validation:MaxLength=255
// +kubebuilder:validation:Pattern=`^([-a-zA-Z0-9_*]+[.]?)+$`
type ServerName string

// TLSContext is a secret with the parts of TLS.
type TLSContext struct {
	// The secret.
	Secret *Secret `json:"secret"`
	// The name in the secret of the trusted CA; ca.crt if left out.
	// +optional
	TrustedCA string `json:"trustedCA,omitempty"`
	// The name in the secret of the certificate chain; tls.crt if left out.
	// +optional
	Certificate string `json:"certificate,omitempty"`
	// The name in the secret of the private key; tls.key if left out.
	// +optional
	PrivateKey string `json:"privateKey,omitempty"`
}

// Secret names a secret.
type Secret struct {
	// The secret's namespace.
	// +optional
	Namespace string `json:"namespace,omitempty"`
	// The secret's name.
	Name string `json:"name"`
}

// Listener names a listener of an Envoy configuration.
type Listener struct {
	// The configuration.
	EnvoyConfig *EnvoyConfig `json:"envoyConfig"`
	// The listener's name.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
	// Which listener wins where several apply.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=100
	Priority uint8 `json:"priority,omitempty"`
}

// EnvoyConfig names an Envoy configuration.
type EnvoyConfig struct {
	// CiliumEnvoyConfig or CiliumClusterwideEnvoyConfig.
	// +optional
	// +kubebuilder:validation:Enum=CiliumEnvoyConfig;CiliumClusterwideEnvoyConfig
	Kind string `json:"kind,omitempty"`
	// The configuration's name.
	// +kubebuilder:validation:MinLength=1
	Name string `json:"name"`
}
