package ingest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// reporter collects the problems of one policy, and knows the fields of it that the API does not.
type reporter struct {
	ref     policy.Ref
	found   []policy.Problem
	unknown []string
}

func (r *reporter) add(path string, reason policy.ProblemReason, format string, args ...any) {
	r.found = append(r.found, policy.Problem{Policy: r.ref, Path: path, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (r *reporter) invalid(path, format string, args ...any) {
	r.add(path, policy.ReasonInvalid, format, args...)
}

func (r *reporter) unsupported(path, format string, args ...any) {
	r.add(path, policy.ReasonUnsupported, format, args...)
}

func (r *reporter) warn(path string, reason policy.ProblemReason, format string, args ...any) {
	r.add(path, reason, format, args...)
	r.found[len(r.found)-1].Warning = true
}

// unknownIn says whether an unknown field is below path, other than below one of except.
func (r *reporter) unknownIn(path string, except ...string) bool {
	return slices.ContainsFunc(r.unknown, func(u string) bool {
		return below(u, path) && !slices.ContainsFunc(except, func(e string) bool { return below(u, e) })
	})
}

// below says whether field is inside of the object or list at path.
func below(field, path string) bool {
	rest, ok := strings.CutPrefix(field, path)
	return ok && (path == "" || strings.HasPrefix(rest, ".") || strings.HasPrefix(rest, "["))
}

// hostNetworkProblems warns of policies that would select pods of the host network:
// these are their node, and nothing can be enforced on them.
func hostNetworkProblems(policies []policy.Policy, endpoints []policy.Endpoint) []policy.Problem {
	var host []*policy.Endpoint
	for i := range endpoints {
		if endpoints[i].HostNetwork {
			host = append(host, &endpoints[i])
		}
	}
	var out []policy.Problem
	for i := range policies {
		for _, spec := range policies[i].Specs {
			var names []string
			for _, e := range host {
				if spec.Subject.Matches(e.Labels) {
					names = append(names, e.Key)
				}
			}
			if len(names) == 0 {
				continue
			}
			more := ""
			if len(names) > 3 {
				more = fmt.Sprintf(" and %d more", len(names)-3)
				names = names[:3]
			}
			out = append(out, policy.Problem{
				Policy: policies[i].Ref, Path: spec.Path, Reason: policy.ReasonUnsupported, Warning: true,
				Message: fmt.Sprintf("pods of the host network are selected and cannot be enforced, since they share their node's address: %s%s", strings.Join(names, ", "), more),
			})
		}
	}
	return out
}
