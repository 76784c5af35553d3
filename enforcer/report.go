package enforcer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// What the operator is told of policies' problems that the node itself found: so many, each of so
// many bytes. It takes no longer texts.
const (
	maxPolicyProblems = 16
	maxPolicyProblem  = 900
)

// report tells the operator what is in force, if that has changed since it was told.
func (e *Enforcer) report() {
	r := &septumpb.NodeReport{
		NodeVersion: e.force.nodeVersion, ClusterVersion: e.force.clusterVersion,
		Problems: e.nodeProblems(), Counters: e.counts.report(),
		ProxyReady: e.proxyReady(), Instance: e.config.Instance,
	}
	e.config.Metrics.proxy(r.ProxyReady)
	e.config.Metrics.problems(r.Problems)
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
	if err != nil {
		e.config.Log.Error(err, "report not written")
		return
	}
	if e.reported != nil && slices.Equal(text, e.reported) {
		return
	}
	e.reported = text
	e.latest.Store(r)
	e.config.Source.Report(r)
}

// LastReport is what the operator was told last; nil before that. Any goroutine may call it.
func (e *Enforcer) LastReport() *septumpb.NodeReport { return e.latest.Load() }

func (e *Enforcer) proxyReady() bool {
	return e.proxy.attached && e.config.Proxy.Ready() && e.config.Own.Ready()
}

func (e *Enforcer) nodeProblems() []*septumpb.NodeProblem {
	var out []*septumpb.NodeProblem
	for reason, message := range e.problems {
		out = append(out, &septumpb.NodeProblem{Reason: reason, Message: message})
	}
	out = append(out, policyProblems(e.force.policy.Problems)...)
	for id, p := range e.pods.problems {
		out = append(out, &septumpb.NodeProblem{Endpoint: id.key, Reason: p.reason, Message: p.message})
	}
	slices.SortFunc(out, func(a, b *septumpb.NodeProblem) int {
		return cmp.Or(cmp.Compare(a.Endpoint, b.Endpoint), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	return out
}

// policyProblems are those that the node found in the policies themselves: the first few, since
// they come of what the DNS says.
func policyProblems(problems []policy.Problem) []*septumpb.NodeProblem {
	var out []*septumpb.NodeProblem
	for _, p := range problems[:min(len(problems), maxPolicyProblems)] {
		text := fmt.Sprintf("%s %s/%s: %s: %s", p.Policy.Kind, p.Policy.Namespace, p.Policy.Name, p.Path, p.Message)
		out = append(out, &septumpb.NodeProblem{Reason: string(p.Reason), Message: strings.ToValidUTF8(text[:min(len(text), maxPolicyProblem)], "")})
	}
	return out
}

// report returns the totals of every policy that has any, in order.
func (c *counts) report() []*septumpb.RuleCounter {
	out := make([]*septumpb.RuleCounter, 0, len(c.byPolicy))
	for ref, n := range c.byPolicy {
		out = append(out, &septumpb.RuleCounter{
			Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name,
			Allowed: n.allowed, Denied: n.denied, Audited: n.audited, Unjudged: n.unjudged, Uid: n.uid, LastDenied: n.last.at,
			LastDenial: n.last.what, LastRule: n.last.rule,
		})
	}
	slices.SortFunc(out, func(a, b *septumpb.RuleCounter) int {
		return policy.CompareRefs(policy.Ref{Kind: a.Kind, Namespace: a.Namespace, Name: a.Name}, policy.Ref{Kind: b.Kind, Namespace: b.Namespace, Name: b.Name})
	})
	return out
}
