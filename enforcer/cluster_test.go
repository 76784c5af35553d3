package enforcer_test

import (
	"fmt"
	"net/netip"

	"github.com/septum-dev/septum/policy"
)

// snapshot is a cluster of two nodes with the sample policy; paths are the paths that
// client may GET.
func snapshot(paths ...string) policy.Snapshot {
	return snapshotOf([]testPod{
		{"demo/client", nodeName, "frontend-app", client},
		{"demo/remote", "node2", "frontend-app", remote},
		{"demo/server", nodeName, "backend-app", server},
		{"demo/stranger", nodeName, "other-app", stranger},
	}, paths...)
}

type testPod struct{ key, node, app, addr string }

// snapshotOf is snapshot with other pods.
func snapshotOf(pods []testPod, paths ...string) policy.Snapshot {
	s := policy.Snapshot{Nodes: []policy.Node{
		{Name: nodeName, Addrs: []netip.Addr{netip.MustParseAddr("10.99.0.1")}},
		{Name: "node2", Addrs: []netip.Addr{netip.MustParseAddr("10.99.0.2")}},
	}}
	for i, ep := range pods {
		labels := policy.Labels{"k8s:app": ep.app, policy.LabelNamespace: "demo"}
		id := policy.FirstClusterIdentity + policy.Identity(i)
		s.Identities = append(s.Identities, policy.IdentityLabels{Identity: id, Labels: labels})
		s.Endpoints = append(s.Endpoints, policy.Endpoint{
			Key: ep.key, UID: "uid-" + ep.key, Node: ep.node, Identity: id, Labels: labels, Addrs: []netip.Addr{netip.MustParseAddr(ep.addr)},
		})
	}
	if len(paths) == 0 {
		return s
	}
	ref := policy.Ref{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "allow-get-products"}
	id := func(path string) policy.RuleID { return policy.RuleID{Policy: ref, Path: path} }
	from := app("frontend-app")
	rule := policy.Rule{
		ID: id("spec.ingress[0].toPorts[0]"), Peers: []policy.Peer{{Selector: &from}},
		Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 80}},
	}
	http := &policy.HTTP{}
	for i, path := range paths {
		http.Rules = append(http.Rules, policy.HTTPRule{
			ID:      id(fmt.Sprintf("spec.ingress[0].toPorts[0].rules.http[%d]", i)),
			Methods: []policy.StringMatch{{Kind: policy.MatchRegex, Value: "GET"}}, Path: policy.StringMatch{Kind: policy.MatchRegex, Value: path},
		})
	}
	rule.L7 = http
	s.Policies = []policy.Policy{{Ref: ref, UID: "p1", Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app("backend-app"), Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{rule}},
	}}}}
	return s
}

func app(name string) policy.Selector {
	return policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{name}}}}
}

// egressPolicy lets from send requests of the methods to port 80 of to, and nothing else.
func egressPolicy(from, to, methods string) policy.Policy {
	ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: "demo", Name: "egress"}
	peer := app(to)
	rule := policy.Rule{
		ID: policy.RuleID{Policy: ref, Path: "spec.egress[0].ports[0]"}, Peers: []policy.Peer{{Selector: &peer}},
		Ports: []policy.Port{{Protocol: policy.ProtocolTCP, Port: 80}},
		L7: &policy.HTTP{Rules: []policy.HTTPRule{{
			ID:      policy.RuleID{Policy: ref, Path: "spec.egress[0].http[0]"},
			Methods: []policy.StringMatch{{Kind: policy.MatchRegex, Value: methods}},
		}}},
	}
	return policy.Policy{Ref: ref, UID: "p2", Generation: 1, Specs: []policy.Spec{{
		Path: "spec", Subject: app(from), Egress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{rule}},
	}}}
}
