package ingest

import (
	"fmt"
	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// section converts the rules of one direction.
func (s *scope) section(in []ciliumRule) policy.Section {
	var out policy.Section
	closed := false
	for i := range in {
		if len(in[i].requires) > 0 {
			// It narrowed every other rule of its direction, before Cilium removed it.
			s.unsupported(in[i].path+"."+in[i].peers.prefix+"Requires", "has been removed by Cilium; all rules of this direction allow nothing. Add its conditions to the selectors of the rules")
			closed = true
		}
		out.Rules = append(out.Rules, s.ciliumRule(&in[i])...)
	}
	if closed {
		out.Rules = denies(out.Rules)
	}
	return out
}

// ciliumRule returns a rule's (rule, toPorts entry) pairs.
func (s *scope) ciliumRule(in *ciliumRule) []policy.Rule {
	base := policy.Rule{ID: policy.RuleID{Policy: s.ref, Path: in.path}}
	if in.deny {
		base.Action = policy.Deny
	}
	entries := make([]string, len(in.ports))
	for j := range in.ports {
		entries[j] = at(in.path, "toPorts", j)
	}
	broken := s.unknownIn(in.path, entries...)
	if len(in.ports) > 0 && len(in.icmps) > 0 {
		s.invalid(in.path+".icmps", "icmps and toPorts cannot be in one rule; write a rule for each")
		broken = true
	}
	if in.auth != nil && in.auth.Mode != "disabled" {
		s.unsupported(in.path+".authentication", "mutual authentication is not supported yet: the rule allows nothing; leave it out, or set mode: disabled")
		broken = true
	}
	hasPorts := len(in.ports)+len(in.icmps) > 0
	who := s.ciliumPeers(in.peers, in.path, in.deny, hasPorts)
	if in.deny && (broken || who.broken) {
		who.any = true
	}
	if broken && !in.deny {
		s.portProblems(in)
		return nil
	}
	base.AnyPeer = who.any
	if !who.any {
		base.Peers = who.list
		if len(who.list) == 0 {
			s.portProblems(in)
			return nil
		}
	}
	if broken || !hasPorts {
		return []policy.Rule{base}
	}
	return s.withPorts(base, in)
}

// portProblems reports what is wrong in the ports of a rule that is closed anyway.
func (s *scope) portProblems(in *ciliumRule) { s.withPorts(policy.Rule{}, in) }

// withPorts returns base once for each entry of ports that allows or denies something.
func (s *scope) withPorts(base policy.Rule, in *ciliumRule) []policy.Rule {
	var out []policy.Rule
	for j := range in.ports {
		r := base
		r.ID.Path = at(in.path, "toPorts", j)
		if s.fitsDirection(in, j) && s.portRule(&r, &in.ports[j], in.deny) {
			out = append(out, r)
		}
	}
	for j := range in.icmps {
		r := base
		r.ID.Path = at(in.path, "icmps", j)
		ports, good := s.ciliumICMP(in.icmps[j].Fields, r.ID.Path+".fields")
		if r.Ports = ports; in.deny && !good {
			r.Ports = nil
		} else if len(ports) == 0 {
			continue
		}
		out = append(out, r)
	}
	return out
}

// portRule gives a rule its ports and its L7 part; false if nothing is left of it.
func (s *scope) portRule(r *policy.Rule, in *ciliumv2.PortRule, deny bool) bool {
	path := r.ID.Path
	rules := make([]string, 0)
	if in.Rules != nil {
		for k := range in.Rules.HTTP {
			rules = append(rules, at(path, "rules.http", k))
		}
		for k := range in.Rules.DNS {
			rules = append(rules, at(path, "rules.dns", k))
		}
		for k := range in.Rules.Kafka {
			rules = append(rules, at(path, "rules.kafka", k))
		}
	}
	broken := s.unknownIn(path, rules...)
	kind, ok := s.l7Kind(in.Rules, path+".rules")
	broken = broken || !ok
	for _, f := range []struct {
		name, instead string
		set           bool
	}{
		{"listener", "listeners of an Envoy configuration", in.Listener != nil},
	} {
		if f.set {
			s.unsupported(path+"."+f.name, "%s are not supported yet: the ports allow nothing; without the field they are allowed as a whole", f.instead)
			broken = true
		}
	}
	inspects := in.TerminatingTLS != nil || in.OriginatingTLS != nil
	tls := inspects || in.ServerNames != nil
	if tls && !inspects && kind != "" || inspects && kind != "" && kind != "http" {
		s.invalid(path+".rules", "%s rules cannot look into this TLS: the ports allow nothing; leave out serverNames, or set terminatingTLS and originatingTLS for http rules", kind)
		broken = true
	}
	ports, good := s.ciliumPorts(in.Ports, path+".ports", kind == "http" || kind == "kafka" || tls)
	if len(in.Ports) == 0 {
		s.invalid(path+".ports", "an entry without ports is about no port; \"0\" is every port")
		good = false
	}
	if deny {
		r.Ports = ports
		if broken || !good {
			r.Ports = nil // every port
		}
		return true
	}
	if kind == "http" {
		if !inspects {
			s.warnTLSPorts(ports, path+".rules.http", "terminatingTLS")
		}
		http := s.ciliumHTTP(in.Rules.HTTP, path+".rules.http")
		if len(http.Rules) == 0 {
			broken = true
		}
		r.L7 = http
	}
	if kind == "kafka" {
		kafka := s.ciliumKafka(in.Rules.Kafka, path+".rules.kafka")
		broken = broken || len(kafka.Rules) == 0
		r.L7 = kafka
	}
	if tls {
		part, some := s.ciliumTLS(r, in, path)
		broken = broken || !some
		r.L7 = part
	}
	if kind == "dns" {
		if tls {
			s.invalid(path+".rules.dns", "dns cannot be in one entry with TLS; write an entry for each: the ports allow nothing")
			return false
		}
		ports = s.dnsPorts(ports, path+".ports")
		dns := s.ciliumDNS(in.Rules.DNS, path+".rules.dns")
		if len(dns.Rules) == 0 {
			return false
		}
		r.L7 = dns
	}
	r.Ports = ports
	return !broken && len(ports) > 0
}

// l7Kind returns the kind of the L7 rules that restrict anything: "" for none. It is not
// ok if they are of more than one kind, or of one that is not supported.
func (s *scope) l7Kind(in *ciliumv2.L7Rules, path string) (kind string, ok bool) {
	if in == nil {
		return "", true
	}
	kinds := 0
	for _, k := range []bool{in.HTTP != nil, in.Kafka != nil, in.DNS != nil, in.L7Proto != "" || in.L7 != nil} {
		if k {
			kinds++
		}
	}
	if kinds > 1 {
		s.invalid(path, "http, kafka, dns and l7proto cannot be together; write an entry for each")
		return "", false
	}
	switch {
	case len(in.HTTP) > 0:
		return "http", true
	case len(in.Kafka) > 0:
		return "kafka", true
	case len(in.DNS) > 0:
		return "dns", true
	case in.L7Proto != "" || len(in.L7) > 0:
		s.unsupported(path+".l7proto", "parsers of Cilium's Envoy are not supported: the ports allow nothing; use http")
		return "l7proto", false
	}
	return "", true // an empty list is none (SEMANTICS 3)
}

// warnTLSPorts: HTTP rules see nothing of requests inside of TLS (SEMANTICS 23).
func (s *scope) warnTLSPorts(ports []policy.Port, path, inspect string) {
	for _, p := range ports {
		name := ""
		for _, usual := range []uint16{443, 8443} {
			if p.Port == usual || p.Port < usual && usual <= p.EndPort {
				name = fmt.Sprintf("port %d", usual)
				break
			}
		}
		if p.Name == "https" {
			name = "port https"
		}
		if name != "" {
			s.warn(path, policy.ReasonNoMatch, "%s is usually TLS, which these rules cannot look into: TLS connections are refused; %s looks into them (docs/tls.md)", name, inspect)
			return
		}
	}
}
