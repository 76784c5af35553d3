package ingest

import (
	"fmt"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// ciliumSpecs converts spec and specs, each a policy of its own.
func (s *scope) ciliumSpecs(spec *ciliumv2.Rule, specs []ciliumv2.Rule) []policy.Spec {
	if spec == nil && len(specs) == 0 {
		s.invalid("spec", "spec or specs is needed")
	}
	var out []policy.Spec
	if spec != nil {
		if got, ok := s.ciliumSpec(spec, "spec"); ok {
			out = append(out, got)
		}
	}
	for i := range specs {
		if got, ok := s.ciliumSpec(&specs[i], fmt.Sprintf("specs[%d]", i)); ok {
			out = append(out, got)
		}
	}
	return out
}

func (s *scope) ciliumSpec(in *ciliumv2.Rule, path string) (policy.Spec, bool) {
	switch {
	case in.NodeSelector != nil && in.EndpointSelector != nil:
		s.invalid(path+".nodeSelector", "endpointSelector and nodeSelector cannot both be set; the rules are enforced for the pods of endpointSelector")
	case in.NodeSelector != nil:
		s.unsupported(path+".nodeSelector", "policies of nodes are not supported: the rules apply to nothing; use endpointSelector for pods")
		return policy.Spec{}, false
	case in.EndpointSelector == nil:
		s.invalid(path+".endpointSelector", "is needed; {} is every pod. The rules apply to nothing")
		return policy.Spec{}, false
	}
	subject, ok := s.ciliumSubject(in.EndpointSelector, path+".endpointSelector")
	if !ok {
		s.invalid(path+".endpointSelector", "cannot be understood: the rules apply to nothing")
		return policy.Spec{}, false
	}
	if hasPrefix(subject.Requirements, policy.LabelReservedPrefix) {
		s.unsupported(path+".endpointSelector", "selects reserved labels, which no pod has: the rules apply to nothing")
	}
	out := policy.Spec{Path: path, Subject: subject}
	out.Ingress = s.section(ciliumIngress(in, path))
	out.Egress = s.section(ciliumEgress(in, path))
	s.defaultDeny(&out, in, path)
	if s.unknownAbove(path) {
		closeAllows(&out)
	}
	return out, true
}

// defaultDeny: a direction with rules denies what they do not allow, unless the policy
// says otherwise for the direction (SEMANTICS 5).
func (s *scope) defaultDeny(out *policy.Spec, in *ciliumv2.Rule, path string) {
	ingress, egress := in.Ingress != nil || in.IngressDeny != nil, in.Egress != nil || in.EgressDeny != nil
	if len(in.Ingress)+len(in.IngressDeny)+len(in.Egress)+len(in.EgressDeny) == 0 {
		if dd := in.EnableDefaultDeny; dd == nil || !deref(dd.Ingress) && !deref(dd.Egress) {
			s.invalid(path, "has no rules, and refuses all traffic of the directions that it names; write `ingress: [{}]` if that is meant")
			if !ingress && !egress {
				ingress, egress = true, true
			}
		}
	} else {
		ingress, egress = len(in.Ingress)+len(in.IngressDeny) > 0, len(in.Egress)+len(in.EgressDeny) > 0
	}
	if dd := in.EnableDefaultDeny; dd != nil {
		if dd.Ingress != nil {
			ingress = *dd.Ingress
		}
		if dd.Egress != nil {
			egress = *dd.Egress
		}
	}
	out.Ingress.DefaultDeny, out.Egress.DefaultDeny = ingress, egress
}

// unknownAbove says whether the rule has an unknown field that is not inside of one of
// its parts: nobody knows what it was to restrict.
func (s *scope) unknownAbove(path string) bool {
	for _, u := range s.unknown {
		if !below(u, "spec") && !below(u, "specs") {
			return true
		}
	}
	return s.unknownIn(path, path+".ingress", path+".ingressDeny", path+".egress", path+".egressDeny")
}

// closeAllows takes away what a spec allows. What it denies stays.
func closeAllows(spec *policy.Spec) {
	for _, section := range []*policy.Section{&spec.Ingress, &spec.Egress} {
		section.DefaultDeny = section.DefaultDeny || len(section.Rules) > 0
		section.Rules = denies(section.Rules)
	}
	if !spec.Ingress.DefaultDeny && !spec.Egress.DefaultDeny {
		spec.Ingress.DefaultDeny, spec.Egress.DefaultDeny = true, true
	}
}

func denies(rules []policy.Rule) []policy.Rule {
	var out []policy.Rule
	for _, r := range rules {
		if r.Action == policy.Deny {
			out = append(out, r)
		}
	}
	return out
}

// ciliumRule is a rule of either direction, allow or deny.
type ciliumRule struct {
	path     string
	deny     bool
	peers    ciliumPeers
	requires []ciliumv2.LabelSelector
	ports    []ciliumv2.PortRule
	icmps    []ciliumv2.ICMPRule
	auth     *ciliumv2.Authentication
}

func ciliumIngress(in *ciliumv2.Rule, path string) []ciliumRule {
	var out []ciliumRule
	for i := range in.Ingress {
		r := &in.Ingress[i]
		out = append(out, ciliumRule{path: at(path, "ingress", i), peers: ingressPeers(&r.IngressPeers),
			requires: r.FromRequires, ports: r.ToPorts, icmps: r.ICMPs, auth: r.Authentication})
	}
	for i := range in.IngressDeny {
		r := &in.IngressDeny[i]
		out = append(out, ciliumRule{path: at(path, "ingressDeny", i), deny: true, peers: ingressPeers(&r.IngressPeers),
			requires: r.FromRequires, ports: portRules(r.ToPorts), icmps: r.ICMPs})
	}
	return out
}

func ciliumEgress(in *ciliumv2.Rule, path string) []ciliumRule {
	var out []ciliumRule
	for i := range in.Egress {
		r := &in.Egress[i]
		out = append(out, ciliumRule{path: at(path, "egress", i), peers: egressPeers(&r.EgressPeers, r.ToFQDNs),
			requires: r.ToRequires, ports: r.ToPorts, icmps: r.ICMPs, auth: r.Authentication})
	}
	for i := range in.EgressDeny {
		r := &in.EgressDeny[i]
		out = append(out, ciliumRule{path: at(path, "egressDeny", i), deny: true, peers: egressPeers(&r.EgressPeers, nil),
			requires: r.ToRequires, ports: portRules(r.ToPorts), icmps: r.ICMPs})
	}
	return out
}

func portRules(in []ciliumv2.PortDenyRule) []ciliumv2.PortRule {
	var out []ciliumv2.PortRule
	for i := range in {
		out = append(out, ciliumv2.PortRule{Ports: in[i].Ports})
	}
	return out
}
