package policy

import (
	"net/netip"
	"time"
)

// Request is what is judged: a new connection or datagram at one end, and its L7 part if it has one.
type Request struct {
	Direction Direction
	// Endpoint is the address of the pod whose policy judges (the server on ingress).
	Endpoint netip.Addr
	Peer     netip.Addr
	Protocol Protocol
	// Port is the destination port.
	Port uint16
	// Unserved is true where the node's proxy cannot judge connections.
	Unserved bool
	// HTTP is nil for a request on layers 3 and 4 only; a Redirected verdict is final then.
	HTTP *HTTPRequest
	// DNS is nil for everything but a question to a DNS server.
	DNS *DNSRequest
	// TLS is nil for a connection that is not TLS, or of which nothing is known yet.
	TLS *TLSRequest
	// Kafka is nil for what is no Kafka request.
	Kafka *KafkaRequest
}

// HTTPRequest is an HTTP request as a proxy reads it.
type HTTPRequest struct {
	Method string
	// Path is the path and query as sent, before normalisation.
	Path string
	Host string
	// Header has lower-case names, and a value for each time that the header was sent.
	Header map[string][]string
	// ServerName is the name of the TLS connection that the request came in; "" for none.
	ServerName string
	// Tokens are the valid tokens in it.
	Tokens []Token
}

// Decision is a verdict and the rule that explains it.
type Decision struct {
	Verdict Verdict
	// Rule is the rule that decided; the zero value for default deny and for traffic that no policy selects.
	Rule RuleID
	// Class is set where the connection is Redirected.
	Class ClassID
	// Rate is the rule's; above it a request is refused after all.
	Rate Rate
	// Reason is for people: "no rule matched", "denied by rule", "not selected by a policy".
	Reason string
}

// Event is one verdict that was given, from whichever backend gave it.
type Event struct {
	Time      time.Time
	Node      string
	Source    EventSource
	Direction Direction
	Verdict   Verdict
	Rule      RuleID
	// Src and Dst are the connection's own client and server.
	Src, Dst   netip.AddrPort
	Protocol   Protocol
	SrcID      Identity
	DstID      Identity
	DropReason string
	// HTTP is nil for events on layers 3 and 4.
	HTTP *HTTPEvent
	// TLS is nil for events that are not about a TLS connection.
	TLS *TLSEvent
	// Kafka is nil for what is no Kafka request.
	Kafka *KafkaEvent
	// DNS is nil for what is no question to a DNS server.
	DNS *DNSEvent
}

// EventSource is the backend that gave a verdict.
type EventSource uint8

// The sources.
const (
	SourceBPF   EventSource = 0
	SourceEnvoy EventSource = 1
	// SourceProxy is Septum's own proxy.
	SourceProxy EventSource = 2
)

// TLSEvent is the TLS part of an Event.
type TLSEvent struct {
	// ServerName is the name that the client asked for; "" for none.
	ServerName string
}

// HTTPEvent is the HTTP part of an Event.
type HTTPEvent struct {
	Method, Host, Path, Version string
	// Code is the response's status; 0 if there was none.
	Code    int
	Latency time.Duration
	// TraceID is that of the trace that the client says the request is part of, in
	// lower-case hexadecimal digits; "" for none.
	TraceID string
	// Mismatched are the names of headers that did not match a rule which lets such
	// requests through, sorted.
	Mismatched []string
	// GRPC is nil for what is no gRPC request.
	GRPC *GRPCEvent
	// Stage says whether this is all of the request.
	Stage HTTPStage
}

// HTTPStage is what an event tells of a request. One that goes on for long is told of twice.
type HTTPStage uint8

// The stages.
const (
	// HTTPWhole is a request that has ended, and of which nothing was told before.
	HTTPWhole HTTPStage = 0
	// HTTPBegun is one that was judged and goes on: there may be no answer yet.
	HTTPBegun HTTPStage = 1
	// HTTPEnded is the end of one that was told of as begun.
	HTTPEnded HTTPStage = 2
)

// GRPCEvent is the gRPC part of an HTTPEvent.
type GRPCEvent struct {
	// Status is the answer's status; negative if there was none.
	Status int
}

// Name is the status's name as gRPC has it, "" for none, and "other" for a number that has none.
func (g GRPCEvent) Name() string {
	names := []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
		"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
	switch {
	case g.Status < 0:
		return ""
	case g.Status < len(names):
		return names[g.Status]
	}
	return "other"
}
