package controllers

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

const (
	shownNames     = 5
	shownProblems  = 64
	maxMessage     = 4096
	maxConditonMsg = 2048
)

// conditions puts a policy's facts into words. The times are not set.
func conditions(p policyFacts) []metav1.Condition {
	out := []metav1.Condition{accepted(p), resolvedRefs(p), enforced(p), degraded(p), conflicted(p)}
	for i := range out {
		out[i].ObservedGeneration = p.generation
		out[i].Message = cut(out[i].Message, maxConditonMsg)
	}
	return out
}

func condition(kind string, holds bool, reason, message string) metav1.Condition {
	status := metav1.ConditionFalse
	if holds {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{Type: kind, Status: status, Reason: reason, Message: message}
}

// accepted is False where a part of the policy is not understood or not supported: what
// that part says is closed, the rest holds.
func accepted(p policyFacts) metav1.Condition {
	if wrong := p.errors(isOwn); len(wrong) > 0 {
		return condition(v1alpha1.ConditionAccepted, false, string(wrong[0].Reason), inWords(wrong))
	}
	var warnings []policy.Problem
	for _, problem := range p.problems {
		if problem.Warning {
			warnings = append(warnings, problem)
		}
	}
	if len(warnings) > 0 {
		return condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonAcceptedWithWarnings, inWords(warnings))
	}
	return condition(v1alpha1.ConditionAccepted, true, v1alpha1.ReasonAccepted, "the policy is valid, and all of it is supported")
}

func resolvedRefs(p policyFacts) metav1.Condition {
	if missing := p.errors(isUnresolved); len(missing) > 0 {
		return condition(v1alpha1.ConditionResolvedRefs, false, v1alpha1.ReasonUnresolvedRef, inWords(missing))
	}
	return condition(v1alpha1.ConditionResolvedRefs, true, v1alpha1.ReasonResolved, "everything that the policy refers to exists")
}

// enforced is True when every node that hosts a selected pod has this generation in its
// data path; with no selected pod there is nothing to enforce, and it is True as well.
func enforced(p policyFacts) metav1.Condition {
	nodes, pods := p.enforcing()
	if len(p.nodes) == 0 {
		return condition(v1alpha1.ConditionEnforced, true, v1alpha1.ReasonNoPodSelected, "no pod is selected")
	}
	message := fmt.Sprintf("enforced on %d of %d nodes", nodes, len(p.nodes))
	missing := p.worst()
	if len(missing) == 0 {
		reason := v1alpha1.ReasonEnforced
		if p.mode == policy.Audit {
			reason = v1alpha1.ReasonAudited
		}
		return condition(v1alpha1.ConditionEnforced, true, reason, fmt.Sprintf("%s, for %s", message, plural(pods, "pod")))
	}
	var names, why []string
	for _, n := range missing {
		names = append(names, n.name)
		if n.reason != v1alpha1.ReasonPending {
			why = append(why, n.name+": "+n.message)
		}
	}
	message += "; waiting for " + some(names, ", ")
	if len(why) > 0 {
		message += " (" + some(why, "; ") + ")"
	}
	return condition(v1alpha1.ConditionEnforced, false, missing[0].reason, message)
}

// degraded is True where something that the policy asks for is closed, cannot be done, or is
// open because its failurePolicy asks for it.
func degraded(p policyFacts) metav1.Condition {
	reason, why, open := v1alpha1.ReasonHealthy, []string(nil), false
	if closed := p.errors(isAny); len(closed) > 0 {
		reason = v1alpha1.ReasonPartlyClosed
		why = append(why, plural(len(closed), "problem")+" in the policy: what they name is closed")
	}
	for _, n := range p.nodes {
		if len(n.trouble) > 0 {
			switch {
			case n.reason == v1alpha1.ReasonNotEnforceable:
				reason = v1alpha1.ReasonNotEnforceable
			case n.failsOpen:
				open = true
			case reason == v1alpha1.ReasonHealthy:
				reason = v1alpha1.ReasonPartlyClosed
			}
			why = append(why, n.name+": "+some(n.trouble, "; "))
		}
	}
	if len(p.hostNetwork) > 0 {
		reason = v1alpha1.ReasonNotEnforceable
		why = append(why, "pods of the host network cannot be enforced: "+some(p.hostNetwork, ", "))
	}
	if open { // what a reader has to know first
		reason = v1alpha1.ReasonFailingOpen
	}
	if len(why) == 0 {
		return condition(v1alpha1.ConditionDegraded, false, reason, "nothing is closed that the policy allows")
	}
	return condition(v1alpha1.ConditionDegraded, true, reason, some(why, "; "))
}

func conflicted(p policyFacts) metav1.Condition {
	if found := p.errors(isConflict); len(found) > 0 {
		return condition(v1alpha1.ConditionConflicted, true, v1alpha1.ReasonConflict, inWords(found))
	}
	return condition(v1alpha1.ConditionConflicted, false, v1alpha1.ReasonNoConflict, "no other policy contradicts it")
}

// valid is Cilium's own condition, which `kubectl get cnp` prints.
func valid(p policyFacts) metav1.Condition {
	out := accepted(p)
	out.Type, out.ObservedGeneration, out.Message = v1alpha1.ConditionValid, p.generation, cut(out.Message, maxConditonMsg)
	return out
}

func (p policyFacts) errors(is func(policy.ProblemReason) bool) []policy.Problem {
	var out []policy.Problem
	for _, problem := range p.problems {
		if !problem.Warning && is(problem.Reason) {
			out = append(out, problem)
		}
	}
	return out
}

func isAny(policy.ProblemReason) bool          { return true }
func isUnresolved(r policy.ProblemReason) bool { return r == policy.ReasonUnresolved }
func isConflict(r policy.ProblemReason) bool   { return r == policy.ReasonConflict }
func isOwn(r policy.ProblemReason) bool        { return !isUnresolved(r) && !isConflict(r) }

func inWords(problems []policy.Problem) string {
	texts := make([]string, 0, len(problems))
	for _, p := range problems {
		texts = append(texts, p.Path+": "+p.Message)
	}
	return some(texts, "; ")
}

// some joins the first few and says how many more there are.
func some(texts []string, separator string) string {
	if len(texts) <= shownNames {
		return strings.Join(texts, separator)
	}
	return fmt.Sprintf("%s and %d more", strings.Join(texts[:shownNames], separator), len(texts)-shownNames)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// cut keeps a text short and printable: it may hold what a user or a node wrote.
func cut(text string, limit int) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-3], "") + "…"
}
