package ingest

import (
	"slices"
	"strings"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// maxServerNames is how many names one rule may have.
const maxServerNames = 256

// serverNames converts the names of a rule. One that is wrong is left out: it allows nothing.
func serverNames[S ~string](s *scope, in []S, path string) []policy.ServerName {
	if len(in) > maxServerNames {
		s.invalid(path, "%d names; at most %d can be in one rule", len(in), maxServerNames)
		return nil
	}
	var out []policy.ServerName
	for i, text := range in {
		name := policy.NormalizeServerName(string(text))
		if wrong := wrongServerName(name); wrong != "" {
			s.invalid(indexed(path, i), "%q %s", text, wrong)
			continue
		}
		out = append(out, policy.ServerName(name))
	}
	return out
}

// wrongServerName says what is wrong with a name; "" if nothing is.
func wrongServerName(name string) string {
	if len(name) > 253 {
		return "is longer than 253 bytes"
	}
	rest, _ := strings.CutPrefix(name, "**.")
	labels := strings.Split(rest, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "has an empty label"
		case len(label) > 63:
			return "has a label of more than 63 bytes"
		case strings.Contains(label, "**"):
			return "has ** elsewhere than in **. at the beginning"
		case strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_*") != "":
			return "is not a host's name: names are written in letters, digits, dashes and dots (others in punycode, xn--…)"
		}
	}
	last := labels[len(labels)-1]
	switch {
	case strings.Contains(last, "*"):
		return "has * in its last label, which must be written out"
	case strings.Trim(last, "0123456789") == "":
		return "is an address: TLS has names of hosts only"
	}
	return ""
}

// ciliumTLS makes an L7 part of a rule's names and inspection, and of the HTTP rules that it
// has; false if it allows nothing. Without names, a rule that inspects is about every name.
func (s *scope) ciliumTLS(r *policy.Rule, in *ciliumv2.PortRule, path string) (*policy.TLS, bool) {
	out := &policy.TLS{Rule: policy.TLSRule{ID: r.ID}}
	good := true
	if in.TerminatingTLS != nil || in.OriginatingTLS != nil {
		var usable bool
		out.Rule.Inspect, usable = s.ciliumInspection(in, path)
		good = usable
		out.Rule.Names = []policy.ServerName{policy.AnyServerName}
		out.HTTP = insideOf(r)
	}
	if in.ServerNames != nil {
		out.Rule.Names = serverNames(s, in.ServerNames, path+".serverNames")
	}
	return out, good && len(out.Rule.Names) > 0
}

// nativeTLS is ciliumTLS for a native rule.
func (s *scope) nativeTLS(r *policy.Rule, in *v1alpha1.TLSRule, path string) (*policy.TLS, bool) {
	out := &policy.TLS{Rule: policy.TLSRule{ID: r.ID, Names: serverNames(s, in.ServerNames, path+".serverNames")}}
	good := true
	if in.Inspect != nil {
		out.HTTP = insideOf(r)
		out.Rule.Inspect, good = s.nativeInspection(out.Rule, in.Inspect, path+".inspect")
		// Without its secrets the rule allows nothing; with denies in it, its names are refused,
		// so that no other rule passes on what should be denied inside.
		good = good || slices.ContainsFunc(out.HTTP, func(h policy.HTTPRule) bool { return h.Action == policy.Deny })
	}
	return out, good && len(out.Rule.Names) > 0
}

// insideOf are the HTTP rules for what is inside of TLS; without any, one that allows everything.
func insideOf(r *policy.Rule) []policy.HTTPRule {
	if http, ok := r.L7.(*policy.HTTP); ok {
		return http.Rules
	}
	return []policy.HTTPRule{{ID: r.ID}}
}
