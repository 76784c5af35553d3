package ingest

import (
	"maps"
	"slices"
	"strings"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// ciliumSubject returns the pods that a Cilium rule applies to. In a namespaced policy
// these are always of its own namespace, whatever the selector says (SEMANTICS 10).
func (s *scope) ciliumSubject(in *ciliumv2.LabelSelector, path string) (policy.Selector, bool) {
	reqs, ok := s.ciliumRequirements(in, path)
	if !ok {
		return policy.Selector{}, false
	}
	if s.namespace == "" {
		if !hasKey(reqs, policy.LabelNamespace) {
			reqs = append(reqs, policy.Requirement{Key: policy.LabelNamespace, Operator: policy.Exists})
		}
		return selectorOf(reqs), true
	}
	own := reqs[:0]
	for _, r := range reqs {
		if r.Key != policy.LabelNamespace {
			own = append(own, r)
			continue
		}
		if r.Operator != policy.In || !slices.Equal(r.Values, []string{s.namespace}) {
			s.warn(path, policy.ReasonInvalid, "a namespaced policy applies to pods of its own namespace %q; the condition on %s is ignored", s.namespace, r.Key)
		}
	}
	return selectorOf(append(own, inNamespace(s.namespace))), true
}

// ciliumPeer returns the pods that a Cilium selector means as a peer: of the policy's
// namespace unless it says otherwise; in a cluster-wide policy of any, but only pods.
// A selector of reserved labels has no namespace.
func (s *scope) ciliumPeer(in *ciliumv2.LabelSelector, path string) (policy.Selector, bool) {
	reqs, ok := s.ciliumRequirements(in, path)
	if !ok {
		return policy.Selector{}, false
	}
	if hasPrefix(reqs, policy.LabelReservedPrefix) || hasKey(reqs, policy.LabelNamespace) {
		return selectorOf(reqs), true
	}
	switch {
	case s.namespace == "":
		reqs = append(reqs, policy.Requirement{Key: policy.LabelNamespace, Operator: policy.Exists})
	case !hasPrefix(reqs, policy.LabelNamespacePrefix):
		reqs = append(reqs, inNamespace(s.namespace))
	}
	return selectorOf(reqs), true
}

// ciliumRequirements returns a selector's conditions with their sources; false if one is
// wrong, so that the selector cannot be carried out.
func (s *scope) ciliumRequirements(in *ciliumv2.LabelSelector, path string) ([]policy.Requirement, bool) {
	var out []policy.Requirement
	for _, key := range slices.Sorted(maps.Keys(in.MatchLabels)) {
		out = append(out, policy.Requirement{Key: s.key(sourced(key)), Operator: policy.In, Values: []string{string(in.MatchLabels[key])}})
	}
	good := true
	for i, e := range in.MatchExpressions {
		r, ok := s.requirement(sourced(e.Key), e.Operator, e.Values, at(path, "matchExpressions", i))
		good = good && ok
		out = append(out, r)
	}
	return out, good
}

// nativeRequirements returns a native selector's conditions on labels with a prefix.
func (s *scope) nativeRequirements(in *v1alpha1.LabelSelector, prefix, path string) ([]policy.Requirement, bool) {
	if in == nil {
		return nil, true
	}
	var out []policy.Requirement
	for _, key := range slices.Sorted(maps.Keys(in.MatchLabels)) {
		out = append(out, policy.Requirement{Key: s.key(prefix + key), Operator: policy.In, Values: []string{string(in.MatchLabels[key])}})
	}
	good := true
	for i, e := range in.MatchExpressions {
		values := make([]string, len(e.Values))
		for j, v := range e.Values {
			values[j] = string(v)
		}
		r, ok := s.requirement(prefix+e.Key, e.Operator, values, at(path, "matchExpressions", i))
		good = good && ok
		out = append(out, r)
	}
	return out, good
}

func (s *scope) requirement(key, operator string, values []string, path string) (policy.Requirement, bool) {
	return s.condition(s.key(key), operator, values, path)
}

// condition is a requirement on labels that are not pods', services' or nodes'.
func (s *scope) condition(key, operator string, values []string, path string) (policy.Requirement, bool) {
	r := policy.Requirement{Key: key, Values: slices.Compact(slices.Sorted(slices.Values(values)))}
	switch operator {
	case "In", "NotIn":
		r.Operator = policy.In
		if operator == "NotIn" {
			r.Operator = policy.NotIn
		}
		if len(values) == 0 {
			s.invalid(path+".values", "%s needs at least one value", operator)
			return r, false
		}
	case "Exists", "DoesNotExist":
		r.Operator = policy.Exists
		if operator == "DoesNotExist" {
			r.Operator = policy.DoesNotExist
		}
		if len(values) > 0 {
			s.invalid(path+".values", "%s has no values", operator)
			return r, false
		}
	default:
		s.invalid(path+".operator", "%q is not one of In, NotIn, Exists, DoesNotExist", operator)
		return r, false
	}
	return r, true
}

// key notes that a policy names a label.
func (s *scope) key(key string) string {
	if _, name, ok := strings.Cut(key, ":"); ok {
		s.keys[name] = true
	}
	return key
}

// sourced returns a key as Cilium reads it, with its source; without one it is of any.
// The labels that ingest gives are always of the source k8s.
func sourced(key string) string {
	source, name, ok := strings.Cut(key, ":")
	if !ok {
		source, name = "any", key
	}
	if k8s := "k8s:" + name; source == "any" && (k8s == policy.LabelNamespace || k8s == policy.LabelServiceAccount ||
		k8s == policy.LabelCluster || strings.HasPrefix(k8s, policy.LabelNamespacePrefix)) {
		return k8s
	}
	return source + ":" + name
}

func inNamespace(name string) policy.Requirement {
	return policy.Requirement{Key: policy.LabelNamespace, Operator: policy.In, Values: []string{name}}
}

func hasKey(reqs []policy.Requirement, key string) bool {
	return slices.ContainsFunc(reqs, func(r policy.Requirement) bool { return r.Key == key })
}

func hasPrefix(reqs []policy.Requirement, prefix string) bool {
	return slices.ContainsFunc(reqs, func(r policy.Requirement) bool { return strings.HasPrefix(r.Key, prefix) })
}

// selectorOf sorts the conditions, so that equal selectors are equal values.
func selectorOf(reqs []policy.Requirement) policy.Selector {
	slices.SortStableFunc(reqs, func(a, b policy.Requirement) int {
		if c := strings.Compare(a.Key, b.Key); c != 0 {
			return c
		}
		if a.Operator != b.Operator {
			return int(a.Operator) - int(b.Operator)
		}
		return slices.Compare(a.Values, b.Values)
	})
	return policy.Selector{Requirements: reqs}
}
