package envoy

import (
	"net/url"
	"strings"

	"github.com/septum-dev/septum/policy"
)

// encodeRule writes a rule's name in one word that says all of it, so that the access log
// of a configuration which is no longer the newest can still be read.
func encodeRule(id policy.RuleID) string {
	parts := []string{id.Policy.Kind, id.Policy.Namespace, id.Policy.Name, id.Path, id.Name}
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// auditPrefix begins the name of a rule that lets a request through which it is to report.
const auditPrefix = "septum:audit:"

// decodeRule is the other way round; false for what names no rule.
func decodeRule(s string) (policy.RuleID, bool) {
	parts := strings.Split(s, "/")
	if len(parts) != 5 {
		return policy.RuleID{}, false
	}
	for i, p := range parts {
		text, err := url.PathUnescape(p)
		if err != nil {
			return policy.RuleID{}, false
		}
		parts[i] = text
	}
	return policy.RuleID{
		Policy: policy.Ref{Kind: parts[0], Namespace: parts[1], Name: parts[2]},
		Path:   parts[3],
		Name:   parts[4],
	}, true
}
