package ingest

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/intstr"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// maxPorts is how many ports one entry may have (SEMANTICS 13).
const maxPorts = 40

// ciliumPorts returns the ports of one entry. With l7, ports that no HTTP or TLS can be
// judged on are left out: those that are not TCP, said so, and port 0. good is false if
// something was left out.
func (s *scope) ciliumPorts(in []ciliumv2.PortProtocol, path string, l7 bool) (out []policy.Port, good bool) {
	good = true
	if len(in) > maxPorts {
		s.invalid(path, "%d ports; at most %d can be in one entry", len(in), maxPorts)
		return nil, false
	}
	for i := range in {
		p, ok := s.ciliumPort(&in[i], indexed(path, i), l7)
		if !ok {
			good = false
			continue
		}
		out = append(out, p)
	}
	return out, good
}

func (s *scope) ciliumPort(in *ciliumv2.PortProtocol, path string, l7 bool) (policy.Port, bool) {
	var p policy.Port
	switch strings.ToUpper(in.Protocol) {
	case "", "ANY":
	case "TCP":
		p.Protocol = policy.ProtocolTCP
	case "UDP":
		p.Protocol = policy.ProtocolUDP
	case "SCTP":
		p.Protocol = policy.ProtocolSCTP
	case "VRRP", "IGMP", "GRE", "IPIP", "IPV6", "ESP", "AH":
		s.unsupported(path+".protocol", "%s is not supported yet; TCP, UDP, SCTP and ANY are", in.Protocol)
		return p, false
	default:
		s.invalid(path+".protocol", "%q is none of TCP, UDP, SCTP and ANY", in.Protocol)
		return p, false
	}
	if l7 && p.Protocol != policy.ProtocolTCP {
		s.invalid(path+".protocol", "rules on requests and server names need `protocol: TCP`, said explicitly")
		return p, false
	}
	switch {
	case in.Port == "":
		s.invalid(path+".port", "a port is needed; \"0\" is every port")
		return p, false
	case serviceName(in.Port):
		if in.EndPort != 0 {
			s.invalid(path+".endPort", "a named port has no range")
			return p, false
		}
		p.Name = strings.ToLower(in.Port)
		return p, true
	}
	n, err := strconv.ParseUint(in.Port, 10, 16)
	if err != nil || len(in.Port) > 1 && in.Port[0] == '0' {
		s.invalid(path+".port", "%q is neither a number from 0 to 65535, in plain digits and quotes, nor a port's name", in.Port)
		return p, false
	}
	if l7 && n == 0 {
		s.invalid(path+".port", "rules on requests and server names need a port other than 0")
		return p, false
	}
	if end := int64(in.EndPort); end != 0 && (n == 0 || end < int64(n) || end > 65535) {
		s.invalid(path+".endPort", "%d is not the end of a range of ports that begins with %d", end, n)
		return p, false
	}
	p.Port, p.EndPort = uint16(n), uint16(in.EndPort)
	return p, true
}

// serviceName says whether a port is a name: letters, digits and single hyphens, with a
// letter in it.
func serviceName(text string) bool {
	letter := false
	for i, r := range text {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			letter = true
		case r >= '0' && r <= '9':
		case r == '-' && i > 0 && i < len(text)-1 && text[i-1] != '-':
		default:
			return false
		}
	}
	return letter && len(text) <= 63
}

func (s *scope) nativePorts(in []v1alpha1.Port, path string, l7 bool) (out []policy.Port, good bool) {
	good = true
	if len(in) > maxPorts {
		s.invalid(path, "%d ports; at most %d can be in one rule", len(in), maxPorts)
		return nil, false
	}
	for i := range in {
		// The native port says the same as Cilium's, but for what it leaves out.
		same := ciliumv2.PortProtocol{Protocol: string(in[i].Protocol), Port: in[i].Name, EndPort: deref(in[i].EndPort)}
		if n := in[i].Port; in[i].Name == "" {
			same.Port = strconv.Itoa(int(deref(n)))
			if n != nil && *n == 0 {
				s.invalid(indexed(path, i)+".port", "must be from 1 to 65535; leave it out for every port")
				good = false
				continue
			}
		} else if n != nil {
			s.invalid(indexed(path, i)+".name", "port and name cannot both be set")
			good = false
			continue
		}
		p, ok := s.ciliumPort(&same, indexed(path, i), l7)
		if !ok {
			good = false
			continue
		}
		out = append(out, p)
	}
	return out, good
}

// ciliumICMP returns ICMP messages as ports.
func (s *scope) ciliumICMP(in []ciliumv2.ICMPField, path string) (out []policy.Port, good bool) {
	good = true
	for i := range in {
		p := policy.Port{Protocol: policy.ProtocolICMP}
		switch in[i].Family {
		case "", "IPv4":
		case "IPv6":
			p.Protocol = policy.ProtocolICMPv6
		default:
			s.invalid(indexed(path, i)+".family", "%q is neither IPv4 nor IPv6", in[i].Family)
			good = false
			continue
		}
		n, ok := icmpType(p.Protocol, in[i].Type)
		if !ok {
			s.invalid(indexed(path, i)+".type", "is neither a number from 0 to 255 nor the name of a message of its family")
			good = false
			continue
		}
		p.ICMPType = n
		out = append(out, p)
	}
	return out, good
}

func icmpType(protocol policy.Protocol, t *intstr.IntOrString) (int16, bool) {
	if t == nil {
		return 0, false
	}
	if n, err := strconv.Atoi(t.String()); err == nil {
		return int16(n), n >= 0 && n <= 255
	}
	return icmpByName(protocol, t.StrVal)
}

func indexed(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
