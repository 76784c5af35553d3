package panels

import (
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
)

func app(name string) policy.Selector {
	return policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{name}}}}
}

func exact(s string) policy.StringMatch { return policy.StringMatch{Kind: policy.MatchExact, Value: s} }

func port(p policy.Protocol, n uint16) []policy.Port { return []policy.Port{{Protocol: p, Port: n}} }

// policies: shop takes HTTP and gRPC from web, queue Kafka; web may send what shop takes and
// a request that shop refuses, speak to the queue, and ask the resolver for one name.
func policies() []policy.Policy {
	make := func(subject string, fill func(rule func(path string) policy.RuleID) policy.Spec) policy.Policy {
		ref := policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: subject}
		spec := fill(func(path string) policy.RuleID { return policy.RuleID{Policy: ref, Path: path} })
		spec.Path, spec.Subject = "spec", app(subject)
		return policy.Policy{Ref: ref, UID: subject, Generation: 1, Specs: []policy.Spec{spec}}
	}
	peer := func(name string) []policy.Peer {
		s := app(name)
		return []policy.Peer{{Selector: &s}}
	}
	requests := func(rule func(string) policy.RuleID, path string, more ...policy.HTTPRule) *policy.HTTP {
		h := &policy.HTTP{}
		for i, r := range append([]policy.HTTPRule{
			{Methods: []policy.StringMatch{exact("GET")}, Path: policy.StringMatch{Kind: policy.MatchPrefix, Value: "/public"}},
			{Methods: []policy.StringMatch{exact("POST")}, Path: exact("/cart.Cart/Add")},
		}, more...) {
			r.ID = rule(fmt.Sprintf("%s.http[%d]", path, i))
			h.Rules = append(h.Rules, r)
		}
		return h
	}
	return []policy.Policy{
		make("queue", func(rule func(string) policy.RuleID) policy.Spec {
			return policy.Spec{Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{{
				ID: rule("spec.ingress[0]"), Peers: peer("web"), Ports: port(policy.ProtocolTCP, kafkaPort),
				L7: &policy.Kafka{Rules: []policy.KafkaRule{{ID: rule("spec.ingress[0].kafka[0]"), Topics: []policy.StringMatch{exact("orders")}}}},
			}}}}
		}),
		make("shop", func(rule func(string) policy.RuleID) policy.Spec {
			return policy.Spec{Ingress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{{
				ID: rule("spec.ingress[0]"), Peers: peer("web"), Ports: port(policy.ProtocolTCP, httpPort), L7: requests(rule, "spec.ingress[0]"),
			}}}}
		}),
		make("web", func(rule func(string) policy.RuleID) policy.Spec {
			return policy.Spec{Egress: policy.Section{DefaultDeny: true, Rules: []policy.Rule{
				{ID: rule("spec.egress[0]"), Peers: peer("shop"), Ports: port(policy.ProtocolTCP, httpPort), L7: requests(rule, "spec.egress[0]", policy.HTTPRule{Path: exact("/secret")})},
				{ID: rule("spec.egress[1]"), Peers: peer("queue"), Ports: port(policy.ProtocolTCP, kafkaPort)},
				{ID: rule("spec.egress[2]"), Peers: peer("resolver"), Ports: port(policy.ProtocolUDP, dnsPort),
					L7: &policy.DNS{Rules: []policy.DNSRule{{ID: rule("spec.egress[2].dns[0]"), Name: "good.example"}}}},
			}}}
		}),
	}
}
