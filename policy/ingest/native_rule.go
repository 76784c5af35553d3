package ingest

import (
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// nativeRule converts a rule. named says whether it names peers.
func (s *scope) nativeRule(in *v1alpha1.TrafficRule, who peers, named bool, path string) []policy.Rule {
	r := policy.Rule{ID: policy.RuleID{Policy: s.ref, Path: path, Name: in.Name}}
	deny := in.Action == v1alpha1.ActionDeny
	if deny {
		r.Action = policy.Deny
	}
	entries := make([]string, 0, len(in.HTTP)+len(in.GRPC))
	for i := range in.HTTP {
		entries = append(entries, at(path, "http", i))
	}
	for i := range in.GRPC {
		entries = append(entries, at(path, "grpc", i))
	}
	for i := range in.Kafka {
		entries = append(entries, at(path, "kafka", i))
	}
	broken := s.unknownIn(path, entries...)
	wrong := func(field, format string, args ...any) {
		s.invalid(path+field, format, args...)
		broken = true
	}
	l7 := in.HTTP != nil || in.GRPC != nil || in.Kafka != nil || in.TLS != nil
	r.Audit = deny && in.Mode == v1alpha1.ModeAudit
	s.ruleMode(in.Mode, deny || l7, path+".mode")
	switch {
	case in.Action != "" && in.Action != v1alpha1.ActionAllow && !deny:
		wrong(".action", "%q is neither Allow nor Deny", in.Action)
		deny, r.Action = true, policy.Deny
	case deny && l7:
		wrong(".action", "a Deny rule cannot have http, grpc, kafka or tls, and denies all of its ports; set `action: Deny` on the http, grpc or kafka entry of an Allow rule")
	case in.HTTP != nil && in.GRPC != nil:
		wrong(".grpc", "http and grpc cannot be in one rule; write two rules")
	}
	if in.Kafka != nil && (in.HTTP != nil || in.GRPC != nil || in.TLS != nil) {
		wrong(".kafka", "kafka cannot be in one rule with http, grpc or tls; write two rules, for different ports")
	}
	if in.TLS != nil && in.TLS.Inspect == nil && (in.HTTP != nil || in.GRPC != nil) {
		wrong(".tls", "http and grpc cannot look into TLS that is passed on; set tls.inspect, or leave out tls")
	}
	if in.Ports != nil && in.ICMP != nil {
		wrong(".icmp", "icmp and ports cannot be in one rule; write two rules")
	}
	if !named && in.Ports == nil && in.ICMP == nil {
		wrong("", "an empty rule means nothing; for everyone write `entities: [all]`")
	}
	if l7 && len(in.Ports) == 0 {
		wrong(".ports", "http, grpc, kafka and tls need ports, each with `protocol: TCP` and a port or name")
	}
	ports, good := s.nativePorts(in.Ports, path+".ports", l7)
	icmp, icmpGood := s.nativeICMP(in.ICMP, path+".icmp")
	ports, good = append(ports, icmp...), good && icmpGood

	if deny {
		r.AnyPeer = who.any || who.broken || broken
		if r.Peers = who.list; r.AnyPeer {
			r.Peers = nil
		}
		if r.Ports = ports; broken || !good {
			r.Ports = nil
		}
		if !r.AnyPeer && len(r.Peers) == 0 {
			return nil
		}
		return []policy.Rule{r}
	}
	if in.Kafka != nil {
		kafka := s.nativeKafka(in.Kafka, path+".kafka")
		broken = broken || len(kafka.Rules) == 0
		if in.Mode == v1alpha1.ModeAudit {
			auditKafka(kafka)
		}
		r.L7 = kafka
	}
	if in.HTTP != nil || in.GRPC != nil {
		if in.TLS == nil {
			field := ".http"
			if in.HTTP == nil {
				field = ".grpc"
			}
			s.warnTLSPorts(ports, path+field, "tls.inspect")
		}
		http := &policy.HTTP{Rules: append(s.nativeHTTP(in.HTTP, path+".http"), s.nativeGRPC(in.GRPC, path+".grpc")...)}
		broken = broken || len(http.Rules) == 0
		if in.Mode == v1alpha1.ModeAudit {
			auditHTTP(http)
		}
		r.L7 = http
	}
	if in.TLS != nil {
		tls, some := s.nativeTLS(&r, in.TLS, path+".tls")
		tls.Audit = in.Mode == v1alpha1.ModeAudit
		broken = broken || !some
		r.L7 = tls
	}
	r.AnyPeer, r.Ports = who.any, ports
	if !who.any {
		r.Peers = who.list
	}
	nobody := !who.any && len(who.list) == 0
	noPort := len(ports) == 0 && (in.Ports != nil || in.ICMP != nil)
	if broken || nobody || noPort {
		return nil
	}
	return []policy.Rule{r}
}

// ruleMode reports modes of a single rule that it cannot have. refuses is false of a rule that only allows.
func (s *scope) ruleMode(mode v1alpha1.PolicyMode, refuses bool, path string) {
	switch {
	case mode == "" || mode == v1alpha1.ModeEnforce && !s.audit:
	case mode == v1alpha1.ModeEnforce:
		s.unsupported(path, "Enforce for a single rule of a policy in Audit mode is not supported: the rule refuses nothing; write it in a policy of its own")
	case mode != v1alpha1.ModeAudit:
		s.invalid(path, "%q is neither Enforce nor Audit: the rule is enforced", mode)
	case !refuses:
		s.warn(path, policy.ReasonNoMatch, "a rule without http, grpc, kafka and tls refuses nothing, so that there is nothing to audit")
	}
}

// auditHTTP makes an L7 rule report what it refuses.
func auditHTTP(http *policy.HTTP) {
	http.Audit = true
	for i := range http.Rules {
		http.Rules[i].Audit = http.Rules[i].Action == policy.Deny
	}
}

func (s *scope) nativeICMP(in []v1alpha1.ICMPType, path string) (out []policy.Port, good bool) {
	good = true
	for i := range in {
		p := policy.Port{Protocol: policy.ProtocolICMP, ICMPType: -1}
		switch in[i].Family {
		case "IPv4":
		case "IPv6":
			p.Protocol = policy.ProtocolICMPv6
		default:
			s.invalid(indexed(path, i)+".family", "%q is neither IPv4 nor IPv6", in[i].Family)
			good = false
			continue
		}
		if t := in[i].Type; t != nil {
			if *t < 0 || *t > 255 {
				s.invalid(indexed(path, i)+".type", "%d is not from 0 to 255", *t)
				good = false
				continue
			}
			p.ICMPType = int16(*t)
		}
		out = append(out, p)
	}
	return out, good
}
