package text

import (
	"fmt"
	"net"
	"path"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	flowpb "github.com/cilium/cilium/api/v1/flow"
)

// The types of events, as Cilium numbers them.
const (
	typeDrop    = 1
	typeVerdict = 5
)

// Clean replaces what a terminal might act upon, and what is no UTF-8: control characters,
// marks that turn the direction of text, line separators, other spaces than " ".
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// place is one end of a flow.
type place struct {
	address, port string
	endpoint      *flowpb.Endpoint
	service       *flowpb.Service
	names         []string
}

func source(f *flowpb.Flow) place {
	port, _ := portsOf(f)
	return place{f.GetIP().GetSource(), port, f.GetSource(), f.GetSourceService(), f.GetSourceNames()}
}

func destination(f *flowpb.Flow) place {
	_, port := portsOf(f)
	return place{f.GetIP().GetDestination(), port, f.GetDestination(), f.GetDestinationService(), f.GetDestinationNames()}
}

func portsOf(f *flowpb.Flow) (src, dst string) {
	text := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	switch l4 := f.GetL4().GetProtocol().(type) {
	case *flowpb.Layer4_TCP:
		return text(l4.TCP.GetSourcePort()), text(l4.TCP.GetDestinationPort())
	case *flowpb.Layer4_UDP:
		return text(l4.UDP.GetSourcePort()), text(l4.UDP.GetDestinationPort())
	case *flowpb.Layer4_SCTP:
		return text(l4.SCTP.GetSourcePort()), text(l4.SCTP.GetDestinationPort())
	}
	return "", ""
}

// host is the pod, else the service, else the names, else the address; and the port.
func (p *Printer) host(e place) string {
	namespace := e.endpoint.GetNamespace()
	if e.service != nil {
		namespace = e.service.GetNamespace()
	}
	host := e.address
	switch {
	case e.endpoint.GetPodName() != "":
		host = path.Join(namespace, e.endpoint.GetPodName())
	case e.service.GetName() != "":
		host = path.Join(namespace, e.service.GetName())
	case len(e.names) > 0:
		host = strings.Join(e.names, ",")
	}
	host = Clean(host)
	if e.port != "" && e.port != "0" {
		host = net.JoinHostPort(host, p.colour.yellow(e.port))
	}
	return p.colour.cyan(host)
}

// identity is the name of a reserved identity, or a number.
func identity(e *flowpb.Endpoint) string {
	names := [...]string{"unknown", "host", "world", "unmanaged", "health", "init", "remote-node", "kube-apiserver", "ingress", "world-ipv4", "world-ipv6", "encrypted-overlay"}
	if n := e.GetIdentity(); int(n) < len(names) {
		return "(" + names[n] + ")"
	}
	return fmt.Sprintf("(ID:%d)", e.GetIdentity())
}

// Kind is the type of a flow as the CLI names it.
func Kind(f *flowpb.Flow) string {
	if l7 := f.GetL7(); l7 != nil {
		kind := strings.ToLower(l7.GetType().String())
		switch record := l7.GetRecord().(type) {
		case *flowpb.Layer7_Http:
			return "http-" + kind
		case *flowpb.Layer7_Dns:
			return "dns-" + kind + " " + Clean(record.Dns.GetObservationSource())
		}
		return "l7-" + kind
	}
	switch f.GetEventType().GetType() {
	case typeVerdict:
		return fmt.Sprintf("policy-verdict:%s %s", match(f.GetPolicyMatchType()), f.GetTrafficDirection())
	case typeDrop:
		return reason(f.GetEventType().GetSubType())
	}
	return "UNKNOWN"
}

func match(n uint32) string {
	names := [...]string{"none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only"}
	if int(n) < len(names) {
		return names[n]
	}
	return "unknown"
}

// reason is the CLI's text for a drop reason that Septum's flows have.
func reason(n int32) string {
	switch flowpb.DropReason(n) {
	case flowpb.DropReason_INVALID_SOURCE_IP:
		return "Invalid source ip"
	case flowpb.DropReason_POLICY_DENIED:
		return "Policy denied"
	case flowpb.DropReason_INVALID_PACKET_DROPPED:
		return "Invalid packet"
	case flowpb.DropReason_UNSUPPORTED_L3_PROTOCOL:
		return "Unsupported L3 protocol"
	case flowpb.DropReason_UNKNOWN_L4_PROTOCOL:
		return "Unknown L4 protocol"
	case flowpb.DropReason_NO_MATCHING_LOCAL_CONTAINER_FOUND: //nolint:staticcheck // there is no better word
		return "No matching local container found"
	case flowpb.DropReason_IP_FRAGMENTATION_NOT_SUPPORTED:
		return "IP fragmentation not supported"
	case flowpb.DropReason_UNKNOWN_CONNECTION_TRACKING_STATE:
		return "Unknown connection tracking state"
	case flowpb.DropReason_SOCKET_LOOKUP_FAILED:
		return "Socket lookup failed"
	case flowpb.DropReason_DROP_RATE_LIMITED:
		return "Rate limited"
	}
	return fmt.Sprintf("%d, 0", n)
}

// verdict is a word, coloured, and the policies if they are wanted.
func (p *Printer) verdict(f *flowpb.Flow) string {
	word := f.GetVerdict().String()
	judged := f.GetEventType().GetType() == typeVerdict
	switch f.GetVerdict() {
	case flowpb.Verdict_FORWARDED, flowpb.Verdict_REDIRECTED:
		if judged {
			word = "ALLOWED" + p.by(f.GetEgressAllowedBy(), f.GetIngressAllowedBy(), f)
		}
		return p.colour.green(word)
	case flowpb.Verdict_DROPPED, flowpb.Verdict_ERROR:
		if judged {
			word = "DENIED" + p.by(f.GetEgressDeniedBy(), f.GetIngressDeniedBy(), f)
		}
		return p.colour.red(word)
	case flowpb.Verdict_AUDIT:
		if judged {
			word = "AUDITED" + p.by(f.GetEgressDeniedBy(), f.GetIngressDeniedBy(), f)
		}
		return p.colour.yellow(word)
	}
	return word
}

func (p *Printer) by(egress, ingress []*flowpb.Policy, f *flowpb.Flow) string {
	if f.GetTrafficDirection() != flowpb.TrafficDirection_EGRESS {
		egress = ingress
	}
	var names []string
	for _, policy := range egress {
		if policy.GetKind() != "" && policy.GetName() != "" {
			names = append(names, fmt.Sprintf("%s (%s)", Clean(policy.GetName()), Clean(policy.GetKind())))
		}
	}
	if len(names) == 0 || !p.config.Policies {
		return ""
	}
	return " BY " + strings.Join(names, ", ")
}

// colours is true where colours are wanted; they are the CLI's.
type colours bool

func (c colours) paint(code, s string) string {
	if !c {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (c colours) red(s string) string     { return c.paint("31", s) }
func (c colours) green(s string) string   { return c.paint("32", s) }
func (c colours) yellow(s string) string  { return c.paint("33", s) }
func (c colours) magenta(s string) string { return c.paint("35", s) }
func (c colours) cyan(s string) string    { return c.paint("36", s) }
