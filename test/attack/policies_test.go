package attack

import (
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/attack/node"
	"github.com/septum-dev/septum/test/attack/requests"
)

const (
	// firstPort is the port of the first table of requests, on every HTTP server.
	firstPort = 8001
	// openPort is the one that is allowed without layer 7, for every protocol with ports.
	openPort = 5000
	// httpPort is target's only port with layer 7: GET of /public.
	httpPort = 80
)

func app(name string) policy.Selector {
	return policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:app", Operator: policy.In, Values: []string{name}}}}
}

// builder makes policies with rules that are named by where they stand.
type builder struct {
	ref  policy.Ref
	spec policy.Spec
}

func newPolicy(name string, subject policy.Selector) *builder {
	return &builder{
		ref:  policy.Ref{Kind: "L7NetworkPolicy", Namespace: node.Namespace, Name: name},
		spec: policy.Spec{Path: "spec", Subject: subject},
	}
}

// allow adds a rule to the section. HTTP rules may be none.
func (b *builder) allow(section *policy.Section, direction, peer string, ports []policy.Port, http ...policy.HTTPRule) *builder {
	selector := app(peer)
	path := fmt.Sprintf("spec.%s[%d]", direction, len(section.Rules))
	r := policy.Rule{ID: policy.RuleID{Policy: b.ref, Path: path}, Peers: []policy.Peer{{Selector: &selector}}, Ports: ports}
	if len(http) > 0 {
		l7 := &policy.HTTP{}
		for i, rule := range http {
			rule.ID = policy.RuleID{Policy: b.ref, Path: fmt.Sprintf("%s.http[%d]", path, i)}
			l7.Rules = append(l7.Rules, rule)
		}
		r.L7 = l7
	}
	section.DefaultDeny = true
	section.Rules = append(section.Rules, r)
	return b
}

func (b *builder) from(peer string, ports []policy.Port, http ...policy.HTTPRule) *builder {
	return b.allow(&b.spec.Ingress, "ingress", peer, ports, http...)
}

func (b *builder) to(peer string, ports []policy.Port, http ...policy.HTTPRule) *builder {
	return b.allow(&b.spec.Egress, "egress", peer, ports, http...)
}

func (b *builder) policy() policy.Policy {
	return policy.Policy{Ref: b.ref, UID: b.ref.Name, Generation: 1, Specs: []policy.Spec{b.spec}}
}

func tcp(port uint16) []policy.Port { return []policy.Port{{Protocol: policy.ProtocolTCP, Port: port}} }

func open() []policy.Port {
	return []policy.Port{
		{Protocol: policy.ProtocolTCP, Port: openPort}, {Protocol: policy.ProtocolUDP, Port: openPort}, {Protocol: policy.ProtocolSCTP, Port: openPort},
	}
}

func getPublic() policy.HTTPRule {
	return policy.HTTPRule{
		Methods: []policy.StringMatch{{Kind: policy.MatchExact, Value: "GET"}},
		Path:    policy.StringMatch{Kind: policy.MatchExact, Value: "/public"},
	}
}

// policies: the web servers take what the tables of requests say from clients, each on a port
// of its own; target takes GET of /public and one open port from clients; caged may
// speak to target, by the same rules, and like clients to stream, which takes all HTTP; lenient
// is like target, but fails open, and has no open port.
func policies() []policy.Policy {
	web := newPolicy("web", app("web"))
	for i, table := range requests.Tables() {
		web.from("client", tcp(firstPort+uint16(i)), table.Rules...)
	}
	target := newPolicy("target", app("target")).from("client", open()).from("client", tcp(httpPort), getPublic())
	caged := newPolicy("caged", policy.Selector{Requirements: []policy.Requirement{{Key: "k8s:role", Operator: policy.In, Values: []string{"caged"}}}})
	caged.to("target", open()).to("target", tcp(httpPort), getPublic()).to("stream", tcp(httpPort), policy.HTTPRule{})
	stream := newPolicy("stream", app("stream")).from("client", tcp(httpPort), policy.HTTPRule{})
	return []policy.Policy{caged.policy(), lenient(policy.FailOpen), stream.policy(), target.policy(), web.policy()}
}

func lenient(f policy.Failure) policy.Policy {
	p := newPolicy("lenient", app("lenient")).from("client", tcp(httpPort), getPublic()).policy()
	p.Failure = f
	return p
}
