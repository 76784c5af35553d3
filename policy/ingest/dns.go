package ingest

import (
	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// ciliumDNS converts DNS rules. One that is wrong is left out: it allows nothing.
func (s *scope) ciliumDNS(in []ciliumv2.FQDNSelector, path string) *policy.DNS {
	out := &policy.DNS{}
	for i, n := range in {
		s.dnsRule(out, n.MatchName, n.MatchPattern, "matchName", "matchPattern", indexed(path, i))
	}
	return out
}

// nativeDNS converts native DNS rules in the same way.
func (s *scope) nativeDNS(in []v1alpha1.DNSName, path string) *policy.DNS {
	out := &policy.DNS{}
	for i, n := range in {
		s.dnsRule(out, n.Name, n.Pattern, "name", "pattern", indexed(path, i))
	}
	return out
}

func (s *scope) dnsRule(out *policy.DNS, name, pattern, nameField, patternField, path string) {
	if p, ok := s.namePattern(name, pattern, nameField, patternField, path); ok && !s.unknownIn(path) {
		out.Rules = append(out.Rules, policy.DNSRule{ID: policy.RuleID{Policy: s.ref, Path: path}, Name: p})
	}
}

// namePattern reads a name or a pattern, of which there must be one.
func (s *scope) namePattern(name, pattern, nameField, patternField, path string) (policy.NamePattern, bool) {
	if (name == "") == (pattern == "") {
		s.invalid(path, "exactly one of %s and %s must be set: the entry allows nothing", nameField, patternField)
		return "", false
	}
	field, text, parse := nameField, name, policy.ParseName
	if pattern != "" {
		field, text, parse = patternField, pattern, policy.ParsePattern
	}
	p, err := parse(text)
	if err != nil {
		s.invalid(path+"."+field, "%v", err)
		return "", false
	}
	return p, true
}

// dnsPorts leaves the ports that DNS can be judged on: UDP and TCP, and not 0 (SEMANTICS 13).
func (s *scope) dnsPorts(in []policy.Port, path string) (out []policy.Port) {
	for _, p := range in {
		switch {
		case p.Protocol == policy.ProtocolSCTP:
			s.invalid(path, "DNS rules need UDP, TCP or ANY")
		case p.Port == 0 && p.Name == "":
			s.invalid(path, "DNS rules need a port other than 0; DNS is port 53")
		default:
			out = append(out, p)
		}
	}
	return out
}

// fitsDirection says whether an entry of ports may have the rules that it has.
func (s *scope) fitsDirection(in *ciliumRule, entry int) bool {
	rules := in.ports[entry].Rules
	if in.peers.prefix != "from" || rules == nil || len(rules.DNS) == 0 {
		return true
	}
	s.unsupported(at(in.path, "toPorts", entry)+".rules.dns", "DNS rules are about the names that a pod asks for, and belong into egress: the ports allow nothing")
	return false
}

// nativeDNSRule converts a rule with DNS rules, which only egress has.
func (s *scope) nativeDNSRule(in *v1alpha1.EgressRule, who peers, path string) []policy.Rule {
	dns := s.nativeDNS(in.DNS, path+".dns")
	traffic := in.TrafficRule
	switch {
	case in.Action == v1alpha1.ActionDeny:
		s.invalid(path+".action", "a Deny rule cannot have dns, and denies all of its ports; DNS rules name what is allowed")
		return s.nativeRule(&traffic, who, in.To != nil, path)
	case in.HTTP != nil || in.GRPC != nil || in.TLS != nil:
		s.invalid(path+".dns", "dns and http, grpc or tls cannot be in one rule; write two rules")
		return nil
	case len(in.Ports) == 0:
		s.invalid(path+".ports", "dns needs ports, each with a port (usually 53) or name, and UDP, TCP or no protocol")
		return nil
	}
	s.ruleMode(in.Mode, true, path+".mode")
	traffic.Mode = ""
	dns.Audit = in.Mode == v1alpha1.ModeAudit
	rules := s.nativeRule(&traffic, who, in.To != nil, path)
	if len(dns.Rules) == 0 {
		return nil
	}
	for i := range rules {
		rules[i].Ports = s.dnsPorts(rules[i].Ports, path+".ports")
		rules[i].L7 = dns
		if len(rules[i].Ports) == 0 {
			return nil
		}
	}
	return rules
}
