package ingest

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// labelGroupName is the label that every CIDR group has, with its name.
const labelGroupName = "k8s:io.cilium.policy.cidrgroupname"

// cidrGroup is a CiliumCIDRGroup, read once for all policies that use it.
type cidrGroup struct {
	name     string
	labels   policy.Labels
	prefixes []netip.Prefix
	// wrong says what in it cannot be carried out; "" if nothing.
	wrong string
}

// cidrGroupsOf reads the groups, by name.
func cidrGroupsOf(objects []unstructured.Unstructured) []cidrGroup {
	out := make([]cidrGroup, 0, len(objects))
	for i := range objects {
		out = append(out, cidrGroupOf(&objects[i]))
	}
	slices.SortFunc(out, func(a, b cidrGroup) int { return cmp.Compare(a.name, b.name) })
	return out
}

func cidrGroupOf(u *unstructured.Unstructured) cidrGroup {
	out := cidrGroup{name: u.GetName(), labels: policy.Labels{}}
	for k, v := range u.GetLabels() {
		out.labels["k8s:"+k] = v
	}
	out.labels[labelGroupName] = out.name
	var in ciliumv2.CiliumCIDRGroup
	object := make(map[string]any, len(u.Object))
	for key, value := range u.Object {
		if key != "metadata" && key != "status" {
			object[key] = value
		}
	}
	unknown, err := decode(object, &in)
	switch {
	case err != nil:
		out.wrong = fmt.Sprintf("it cannot be read: %v", err)
		return out
	case len(unknown) > 0:
		out.wrong = fmt.Sprintf("it has the unknown field %s", unknown[0])
		return out
	}
	for i, text := range in.Spec.ExternalCIDRs {
		prefix, err := parsePrefix(string(text))
		if err != nil {
			if out.wrong == "" {
				out.wrong = fmt.Sprintf("its spec.externalCIDRs[%d], %q, is not a range of addresses such as 192.0.2.0/24: %v", i, text, err)
			}
			continue
		}
		out.prefixes = append(out.prefixes, prefix)
	}
	slices.SortFunc(out.prefixes, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	out.prefixes = slices.Compact(out.prefixes)
	return out
}

// cidrGroupRef adds the group of a name.
func (s *scope) cidrGroupRef(p *peers, in *ciliumv2.CIDRRule, path string, deny bool) {
	n, found := slices.BinarySearchFunc(s.groups, in.CIDRGroupRef, func(g cidrGroup, name string) int { return cmp.Compare(g.name, name) })
	if !found {
		s.add(path+".cidrGroupRef", policy.ReasonUnresolved, "there is no CiliumCIDRGroup %q: it selects nothing until there is", in.CIDRGroupRef)
		return
	}
	holes, ok := s.holes(in.Except, path+".except")
	if ok || deny {
		s.cidrGroup(p, &s.groups[n], path+".cidrGroupRef", holes)
	}
}

// cidrGroupSelector adds the groups that have the labels; {} is all of them.
func (s *scope) cidrGroupSelector(p *peers, in *ciliumv2.CIDRRule, path string, deny bool) {
	reqs, ok := s.groupRequirements(in.CIDRGroupSelector, path+".cidrGroupSelector")
	if !ok {
		p.broken = true
		return
	}
	holes, ok := s.holes(in.Except, path+".except")
	if !ok && !deny {
		return
	}
	sel, found := selectorOf(reqs), false
	for i := range s.groups {
		if sel.Matches(s.groups[i].labels) {
			found = true
			s.cidrGroup(p, &s.groups[i], path+".cidrGroupSelector", holes)
		}
	}
	if !found {
		s.add(path+".cidrGroupSelector", policy.ReasonUnresolved, "no CiliumCIDRGroup has these labels: it selects nothing until there is one")
	}
}

// groupRequirements are a selector's conditions on a group's labels, which are of one
// source. They are no labels of pods, and name none.
func (s *scope) groupRequirements(in *ciliumv2.LabelSelector, path string) ([]policy.Requirement, bool) {
	var out []policy.Requirement
	for key, value := range in.MatchLabels {
		out = append(out, policy.Requirement{Key: "k8s:" + key, Operator: policy.In, Values: []string{string(value)}})
	}
	good := true
	for i, e := range in.MatchExpressions {
		r, ok := s.condition("k8s:"+e.Key, e.Operator, e.Values, at(path, "matchExpressions", i))
		good = good && ok
		out = append(out, r)
	}
	return out, good
}

// cidrGroup adds a group's ranges less the holes. A range of it that is wrong is missing
// from an allow rule, and makes a deny rule be about everyone, as a range in the policy does.
func (s *scope) cidrGroup(p *peers, g *cidrGroup, path string, holes []netip.Prefix) {
	if g.wrong != "" {
		p.broken = true
		s.add(path, policy.ReasonUnresolved, "CiliumCIDRGroup %q is not in order: %s. An allow rule goes without it, a deny rule denies everyone", g.name, g.wrong)
	}
	for _, prefix := range g.prefixes {
		out := policy.CIDR{Prefix: prefix}
		covered := false
		for _, hole := range holes {
			switch {
			case hole.Bits() <= prefix.Bits() && hole.Contains(prefix.Addr()):
				covered = true
			case prefix.Contains(hole.Addr()):
				out.Except = append(out.Except, hole)
			}
		}
		if !covered {
			p.add(policy.Peer{CIDR: &out})
		}
	}
}

// holes reads the exceptions of a rule about groups, which may lie anywhere. It is not ok
// if one is wrong: an allow rule then goes without the groups, a deny rule without the exception.
func (s *scope) holes(in []ciliumv2.CIDR, path string) ([]netip.Prefix, bool) {
	var out []netip.Prefix
	good := true
	for i, text := range in {
		hole, err := parsePrefix(string(text))
		if err != nil {
			s.invalid(indexed(path, i), "%q is not a range of addresses: %v", text, err)
			good = false
			continue
		}
		out = append(out, hole)
	}
	return out, good
}
