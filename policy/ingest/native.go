package ingest

import (
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// nativeSubject returns the pods of the policy's namespace that a selector means.
func (s *scope) nativeSubject(in *v1alpha1.LabelSelector) *policy.Selector {
	reqs, ok := s.nativeRequirements(in, "k8s:", "spec.endpointSelector")
	if !ok {
		return nil
	}
	sel := selectorOf(append(reqs, inNamespace(s.namespace)))
	return &sel
}

// podSelector returns the pods that a peer or the subject of a cluster-wide policy means:
// of the policy's namespace, if no namespaces are said.
func (s *scope) podSelector(in *v1alpha1.PodPeer, path string) *policy.Selector {
	reqs, ok := s.nativeRequirements(in.PodSelector, "k8s:", path+".podSelector")
	ns, nsOK := s.nativeRequirements(in.NamespaceSelector, policy.LabelNamespacePrefix, path+".namespaceSelector")
	if !ok || !nsOK {
		return nil
	}
	reqs = append(reqs, ns...)
	if s.namespace != "" && in.NamespaceSelector == nil {
		reqs = append(reqs, inNamespace(s.namespace))
	} else {
		reqs = append(reqs, policy.Requirement{Key: policy.LabelNamespace, Operator: policy.Exists})
	}
	if len(in.ServiceAccounts) > 0 {
		r, _ := s.requirement(policy.LabelServiceAccount, "In", in.ServiceAccounts, path+".serviceAccounts")
		reqs = append(reqs, r)
	}
	sel := selectorOf(reqs)
	return &sel
}

// native converts a native policy with its subject; nil if that is wrong.
func (s *scope) native(p *policy.Policy, subject *policy.Selector, in *v1alpha1.PolicyRules) {
	if in.Mode == v1alpha1.ModeAudit {
		p.Mode, s.audit = policy.Audit, true
	}
	switch in.FailurePolicy {
	case v1alpha1.FailOpen:
		p.Failure = policy.FailOpen
	case "", v1alpha1.FailClosed:
	default:
		s.invalid("spec.failurePolicy", "%q is neither Closed nor Open: connections that cannot be judged are refused, as with Closed", in.FailurePolicy)
	}
	if subject == nil {
		s.invalid("spec", "the subject cannot be understood: the rules apply to nothing")
		return
	}
	spec := policy.Spec{Path: "spec", Subject: *subject}
	for i := range in.Ingress {
		r := &in.Ingress[i]
		path := at("spec", "ingress", i)
		who := s.nativePeers(r.From, path, r.Action == v1alpha1.ActionDeny)
		spec.Ingress.Rules = append(spec.Ingress.Rules, s.nativeRule(&r.TrafficRule, who, r.From != nil, path)...)
	}
	for i := range in.Egress {
		r := &in.Egress[i]
		path := at("spec", "egress", i)
		who := s.nativeDestinations(r.To, path, r.Action == v1alpha1.ActionDeny)
		if r.DNS != nil {
			spec.Egress.Rules = append(spec.Egress.Rules, s.nativeDNSRule(r, who, path)...)
			continue
		}
		spec.Egress.Rules = append(spec.Egress.Rules, s.nativeRule(&r.TrafficRule, who, r.To != nil, path)...)
	}
	spec.Ingress.DefaultDeny, spec.Egress.DefaultDeny = len(in.Ingress) > 0, len(in.Egress) > 0
	if dd := in.DefaultDeny; dd != nil {
		if dd.Ingress != nil {
			spec.Ingress.DefaultDeny = *dd.Ingress
		}
		if dd.Egress != nil {
			spec.Egress.DefaultDeny = *dd.Egress
		}
	} else if len(in.Ingress)+len(in.Egress) == 0 {
		s.invalid("spec", "has no rules, and refuses all traffic; write `defaultDeny: {ingress: true}` if incoming traffic is meant")
		spec.Ingress.DefaultDeny, spec.Egress.DefaultDeny = true, true
	}
	if s.unknownIn("", "spec.ingress", "spec.egress") {
		closeAllows(&spec)
	}
	p.Specs = []policy.Spec{spec}
}

// nativePeers returns where traffic may come from; everyone without a list.
func (s *scope) nativePeers(in []v1alpha1.IngressPeer, path string, deny bool) peers {
	out := peers{any: in == nil}
	for i := range in {
		p := &in[i]
		s.nativePeer(&out, p.Pods, p.Entities, p.IPBlock, p.Nodes, nil, at(path, "from", i), deny)
	}
	return out
}

// nativeDestinations returns where traffic may go; everywhere without a list.
func (s *scope) nativeDestinations(in []v1alpha1.EgressPeer, path string, deny bool) peers {
	out := peers{any: in == nil}
	for i := range in {
		p := &in[i]
		if p.FQDN != nil {
			s.nativeName(&out, p, at(path, "to", i), deny)
			continue
		}
		s.nativePeer(&out, p.Pods, p.Entities, p.IPBlock, p.Nodes, p.Services, at(path, "to", i), deny)
	}
	return out
}

// nativeName adds the addresses of a name, which nothing can be denied by: who is told other
// addresses than the pod that asks would be let through.
func (s *scope) nativeName(out *peers, p *v1alpha1.EgressPeer, path string, deny bool) {
	switch {
	case p.Pods != nil || p.Entities != nil || p.IPBlock != nil || p.Nodes != nil || p.Services != nil:
		out.broken = true
		s.invalid(path, "exactly one kind of peer must be set, here are more than fqdn")
	case deny:
		out.broken = true
		s.invalid(path+".fqdn", "a Deny rule cannot be about names, and is about every destination; deny an ipBlock, or leave the name out of what is allowed")
	default:
		s.name(out, p.FQDN.Name, p.FQDN.Pattern, nameFields{"name", "pattern"}, path+".fqdn")
	}
}

func (s *scope) nativePeer(out *peers, pods *v1alpha1.PodPeer, entities []v1alpha1.Entity, block *v1alpha1.IPBlock,
	nodes *v1alpha1.LabelSelector, services *v1alpha1.ServicePeer, path string, deny bool) {
	set := 0
	for _, is := range []bool{pods != nil, entities != nil, block != nil, nodes != nil, services != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		out.broken = true
		s.invalid(path, "exactly one kind of peer must be set, here are %d", set)
		return
	}
	switch {
	case pods != nil:
		sel := s.podSelector(pods, path+".pods")
		if sel == nil {
			out.broken = true
			return
		}
		out.add(policy.Peer{Selector: sel})
	case entities != nil:
		for i, e := range entities {
			s.entity(out, string(e), at(path, "entities", i))
		}
	case block != nil:
		except := make([]string, len(block.Except))
		for i, e := range block.Except {
			except[i] = string(e)
		}
		s.cidr(out, block.CIDR, path+".ipBlock.cidr", except, path+".ipBlock.except", deny)
	case nodes != nil:
		reqs, ok := s.nativeRequirements(nodes, policy.LabelNodePrefix, path+".nodes")
		s.nodes(out, reqs, ok)
	case services != nil:
		s.nativeServices(out, services, path+".services")
	}
}

func (s *scope) nativeServices(out *peers, in *v1alpha1.ServicePeer, path string) {
	namespace := in.Namespace
	if namespace == "" {
		namespace = s.namespace
	}
	switch {
	case in.Name != "" && in.Selector != nil || in.Name == "" && in.Selector == nil:
		out.broken = true
		s.invalid(path, "exactly one of name and selector must be set")
	case in.Name != "" && namespace == "":
		out.broken = true
		s.invalid(path+".namespace", "is needed in a cluster-wide policy")
	case in.Name != "":
		s.serviceNamed(out, namespace, in.Name, path)
	default:
		reqs, ok := s.nativeRequirements(in.Selector, "k8s:", path+".selector")
		if !ok {
			out.broken = true
			return
		}
		s.servicesSelected(out, namespace, reqs, path)
	}
}
