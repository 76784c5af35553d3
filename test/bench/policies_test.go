package bench

import (
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

// policies are those of the arms: the same peer and port everywhere, and 0, 1 or very many
// rules for HTTP. The request that is measured matches the last rule.
func policies() []policy.Policy {
	exact := func(path string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchExact, Value: path} }
	tree := make([]policy.StringMatch, 0, treeRules)
	for i := range treeRules {
		if i%2 == 0 {
			tree = append(tree, exact(fmt.Sprintf("/tree/%d", i)))
		} else {
			tree = append(tree, policy.StringMatch{Kind: policy.MatchPrefix, Value: fmt.Sprintf("/tree/%d/", i)})
		}
	}
	regex := make([]policy.StringMatch, 0, regexRules)
	for i := range regexRules {
		regex = append(regex, policy.StringMatch{Kind: policy.MatchRegex, Value: fmt.Sprintf("/v1/tenants/%d/files/[0-9]+", i)})
	}
	return []policy.Policy{
		policyFor("l4", nil),
		policyFor("http", []policy.StringMatch{exact("/file"), exact("/bulk")}),
		policyFor("tree", tree),
		policyFor("regex", regex),
	}
}

// policyFor lets the client reach the pods of one name, on paths if there are any.
func policyFor(name string, paths []policy.StringMatch) policy.Policy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: name}
	client := app("client")
	rule := policy.Rule{
		ID: policy.RuleID{Policy: ref, Path: "spec.ingress[0]"}, Peers: []policy.Peer{{Selector: &client}},
		Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: port}},
	}
	if len(paths) > 0 {
		http := &policy.HTTP{}
		for i, path := range paths {
			http.Rules = append(http.Rules, policy.HTTPRule{
				ID:      policy.RuleID{Policy: ref, Path: fmt.Sprintf("spec.ingress[0].http[%d]", i)},
				Methods: []policy.StringMatch{{Kind: policy.MatchExact, Value: "GET"}}, Path: path,
			})
		}
		rule.L7 = http
	}
	return policy.Policy{Ref: ref, UID: name, Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app(name), Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{rule}},
	}}}
}

// classes are policies that together make n classes.
func classes(n int) []policy.Policy {
	p := policyFor("again", []policy.StringMatch{{Kind: policy.MatchExact, Value: "/file"}})
	section := &p.Specs[0].Ingress
	first := section.Rules[0]
	section.Rules = nil
	for i := range n {
		r := first
		r.ID.Path = fmt.Sprintf("spec.ingress[%d]", i)
		r.Ports = []policy.Port{{Protocol: policy.ProtocolTCP, Port: uint16(20000 + i)}}
		section.Rules = append(section.Rules, r)
	}
	return []policy.Policy{p}
}

func app(name string) policy.Selector {
	return policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{name}}}}
}
