package ingest

import (
	"strings"

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

// tlsPart makes an L7 part of a rule's names; false if they allow nothing.
func tlsPart(id policy.RuleID, names []policy.ServerName) (*policy.TLS, bool) {
	return &policy.TLS{Rule: policy.TLSRule{ID: id, Names: names}}, len(names) > 0
}
