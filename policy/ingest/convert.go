package ingest

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// converter makes policies of objects. It collects the label keys that they name.
type converter struct {
	cluster  string
	services []policy.Service
	// groups are the CIDR groups, by name.
	groups  []cidrGroup
	secrets *secrets
	// keys are the label keys that selectors name, without their source.
	keys map[string]bool
}

// scope is what the parts of one policy are converted in.
type scope struct {
	*converter
	*reporter
	// namespace is the policy's; "" for a cluster-wide one.
	namespace string
	// audit is true for a native policy in Audit mode.
	audit bool
}

// policy converts one object. It returns no policy for an object of another kind, and
// one without Specs where nothing of it can be understood.
func (c *converter) policy(u *unstructured.Unstructured) (*policy.Policy, []policy.Problem) {
	gvk := u.GroupVersionKind()
	s := scope{converter: c, namespace: u.GetNamespace(), reporter: &reporter{ref: policy.Ref{Kind: gvk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}}}
	p := &policy.Policy{Ref: s.ref, UID: string(u.GetUID()), Generation: u.GetGeneration()}
	object := make(map[string]any, len(u.Object))
	for key, value := range u.Object {
		if key != "metadata" && key != "status" {
			object[key] = value
		}
	}
	switch {
	case gvk.Group == ciliumv2.Group && gvk.Kind == ciliumv2.KindCiliumNetworkPolicy:
		var in ciliumv2.CiliumNetworkPolicy
		if s.decoded(object, &in) {
			p.Specs = s.ciliumSpecs(in.Spec, in.Specs)
		} else {
			p.Specs = s.closedSpecs(object)
		}
	case gvk.Group == ciliumv2.Group && gvk.Kind == ciliumv2.KindCiliumClusterwideNetworkPolicy:
		var in ciliumv2.CiliumClusterwideNetworkPolicy
		if s.decoded(object, &in) {
			p.Specs = s.ciliumSpecs(in.Spec, in.Specs)
		} else {
			p.Specs = s.closedSpecs(object)
		}
	case gvk.Group == v1alpha1.Group && gvk.Kind == v1alpha1.KindL7NetworkPolicy:
		var in v1alpha1.L7NetworkPolicy
		if s.decoded(object, &in) {
			s.native(p, s.nativeSubject(&in.Spec.EndpointSelector), &in.Spec.PolicyRules)
		} else {
			p.Specs = s.closedSpecs(object)
		}
	case gvk.Group == v1alpha1.Group && gvk.Kind == v1alpha1.KindClusterL7NetworkPolicy:
		var in v1alpha1.ClusterL7NetworkPolicy
		if s.decoded(object, &in) {
			s.native(p, s.podSelector(&in.Spec.Subject, "spec.subject"), &in.Spec.PolicyRules)
		} else {
			p.Specs = s.closedSpecs(object)
		}
	default:
		s.invalid("kind", "%q is not a policy of Septum or Cilium", gvk.GroupKind().String())
		return nil, s.found
	}
	return p, s.found
}

// decoded decodes the object into the type of its kind and reports what the type does not know.
func (s *scope) decoded(object map[string]any, out any) bool {
	unknown, err := decode(object, out)
	if err != nil {
		s.invalid("spec", "the policy cannot be read, and everything that its subject sends and receives is refused: %v", err)
		return false
	}
	for _, path := range unknown {
		if forPeople(path) {
			s.warn(path, policy.ReasonUnknownField, "the API has no such field; it is ignored, since it restricts no traffic")
			continue
		}
		s.unknown = append(s.unknown, path)
		s.add(path, policy.ReasonUnknownField, "the API has no such field; what it is part of is closed")
	}
	return true
}

// forPeople says whether a field is inside of a rule's labels or log mark, which restrict nothing.
func forPeople(path string) bool {
	rest, ok := strings.CutPrefix(path, "spec")
	if !ok {
		return false
	}
	_, field, _ := strings.Cut(rest, ".")
	return below(field, "labels") || below(field, "log")
}

// closedSpecs is what is left of a policy that cannot be decoded: its subjects, where
// they can be read on their own, with nothing allowed in the directions that it names.
func (s *scope) closedSpecs(object map[string]any) []policy.Spec {
	var out []policy.Spec
	one := func(v any, path string) {
		fields, ok := v.(map[string]any)
		if !ok {
			return
		}
		subject, ok := s.closedSubject(fields, path)
		if !ok {
			s.invalid(path, "the subject cannot be read either: the policy applies to nothing")
			return
		}
		in := fields["ingress"] != nil || fields["ingressDeny"] != nil
		eg := fields["egress"] != nil || fields["egressDeny"] != nil
		out = append(out, policy.Spec{Path: path, Subject: subject,
			Ingress: policy.Section{DefaultDeny: in || !eg}, Egress: policy.Section{DefaultDeny: eg || !in}})
	}
	if v, ok := object["spec"]; ok {
		one(v, "spec")
	}
	if list, ok := object["specs"].([]any); ok {
		for i, v := range list {
			one(v, indexed("specs", i))
		}
	}
	return out
}

func (s *scope) closedSubject(fields map[string]any, path string) (policy.Selector, bool) {
	if v, ok := fields["subject"].(map[string]any); ok {
		var subject v1alpha1.PodPeer
		if _, err := decode(v, &subject); err != nil {
			return policy.Selector{}, false
		}
		sel := s.podSelector(&subject, path+".subject")
		return deref(sel), sel != nil
	}
	v, ok := fields["endpointSelector"].(map[string]any)
	if !ok {
		return policy.Selector{}, false
	}
	var selector ciliumv2.LabelSelector
	if _, err := decode(v, &selector); err != nil {
		return policy.Selector{}, false
	}
	return s.ciliumSubject(&selector, path+".endpointSelector")
}
