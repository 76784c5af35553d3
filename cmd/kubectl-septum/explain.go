package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/septum-dev/septum/policy"
)

func explainCommand(src *source) *cobra.Command {
	return &cobra.Command{
		Use:   "explain POLICY",
		Short: "Say in words what a policy means: which pods it selects, and what it lets in and out",
		Long: `Say in words what a policy means: which pods it selects, and what it lets in and out.

POLICY is a name, namespace/name or kind/name. What the policy's text has wrong is named, and is closed.`,
		Example: "  kubectl septum explain allow-get-data\n  kubectl septum explain -f policies/ ciliumnetworkpolicy/allow-get-data",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: src.completePolicies,
		RunE: func(cmd *cobra.Command, args []string) error {
			objects, err := src.objects(cmd.Context())
			if err != nil {
				return err
			}
			w := newWorld(objects)
			found := w.policies(args[0], src.namespace())
			if len(found) == 0 {
				return fmt.Errorf("there is no policy %q in namespace %q, and no cluster-wide one", args[0], src.namespace())
			}
			for _, p := range found {
				w.explain(cmd.OutOrStdout(), p)
			}
			return nil
		},
	}
}

// policies are those of a name.
func (w *world) policies(name, namespace string) []policy.Policy {
	kind := ""
	if first, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
		if slices.ContainsFunc(policyKinds(), func(k schema.GroupVersionKind) bool { return strings.EqualFold(k.Kind, first) }) {
			kind = first
		} else {
			namespace = first
		}
	}
	return slices.DeleteFunc(slices.Clone(w.snapshot.Policies), func(p policy.Policy) bool {
		return p.Ref.Name != name || p.Ref.Namespace != "" && p.Ref.Namespace != namespace || kind != "" && !strings.EqualFold(p.Ref.Kind, kind)
	})
}

func (w *world) explain(out io.Writer, p policy.Policy) {
	mode := "what it refuses is refused"
	if p.Mode == policy.Audit {
		mode = "it is in Audit mode: nothing is refused, and what would be is reported"
	}
	fmt.Fprintf(out, "%s: %s.\n", refName(p.Ref), mode)
	pods := w.compiled.Selected()[p.Ref]
	names := make([]string, 0, len(pods))
	for _, s := range pods {
		names = append(names, s.Key)
	}
	fmt.Fprintf(out, "It selects %s.\n", list(names, "pod"))
	for _, s := range p.Specs {
		w.section(out, "Into them (ingress)", s.Ingress, "from", p.Mode == policy.Audit)
		w.section(out, "Out of them (egress)", s.Egress, "to", p.Mode == policy.Audit)
	}
	for _, problem := range w.problemsOf(p.Ref) {
		fmt.Fprintf(out, "Problem: %s: %s\n", problem.Path, problem.Message)
	}
}

func (w *world) section(out io.Writer, title string, s policy.Section, preposition string, audit bool) {
	if !s.DefaultDeny && len(s.Rules) == 0 {
		return
	}
	rest := "what no rule of any policy allows is refused"
	if audit {
		rest = "what no rule of any policy allows is reported, and refused only where an enforced policy does"
	}
	if !s.DefaultDeny {
		rest = "this policy refuses nothing by default"
	}
	fmt.Fprintf(out, "%s: %s.\n", title, rest)
	for _, r := range s.Rules {
		verb := "allows"
		if r.Action == policy.Deny {
			verb = "denies"
		}
		if r.Action == policy.Deny && (r.Audit || audit) {
			verb = "reports (Audit), and does not refuse,"
		}
		fmt.Fprintf(out, "  %s: %s %s %s %s", ruleLabel(r.ID), verb, portsOf(r.Ports), preposition, w.peersOf(r))
		http, ok := r.L7.(*policy.HTTP)
		if !ok {
			if r.L7 != nil {
				fmt.Fprintf(out, ", and what its %s rules say", strings.TrimPrefix(fmt.Sprintf("%T", r.L7), "*policy."))
			}
			fmt.Fprintln(out)
			continue
		}
		if http.Audit {
			fmt.Fprintln(out, ", and reports (Audit) what is none of these")
		} else {
			fmt.Fprintln(out, ", of HTTP only")
		}
		for _, h := range http.Rules {
			fmt.Fprintf(out, "    %s\n", httpText(h))
		}
	}
}

func ruleLabel(id policy.RuleID) string {
	if id.Name != "" {
		return fmt.Sprintf("%s (%s)", id.Path, id.Name)
	}
	return id.Path
}

func portsOf(ports []policy.Port) string {
	if len(ports) == 0 {
		return "every port"
	}
	words := make([]string, 0, len(ports))
	for _, p := range ports {
		protocol := map[policy.Protocol]string{policy.ProtocolTCP: "TCP", policy.ProtocolUDP: "UDP", policy.ProtocolSCTP: "SCTP",
			policy.ProtocolICMP: "ICMP", policy.ProtocolICMPv6: "ICMPv6", policy.ProtocolAny: "any protocol"}[p.Protocol]
		switch {
		case p.Name != "":
			words = append(words, fmt.Sprintf("%s port %q", protocol, p.Name))
		case p.EndPort != 0:
			words = append(words, fmt.Sprintf("%s %d–%d", protocol, p.Port, p.EndPort))
		case p.Port != 0:
			words = append(words, fmt.Sprintf("%s %d", protocol, p.Port))
		case p.ICMPType >= 0 && (p.Protocol == policy.ProtocolICMP || p.Protocol == policy.ProtocolICMPv6):
			words = append(words, fmt.Sprintf("%s type %d", protocol, p.ICMPType))
		default:
			words = append(words, "all "+protocol)
		}
	}
	return strings.Join(words, ", ")
}

// peersOf are a rule's peers, and which pods there are of them.
func (w *world) peersOf(r policy.Rule) string {
	if r.AnyPeer {
		return "everyone"
	}
	words := make([]string, 0, len(r.Peers))
	for _, p := range r.Peers {
		switch {
		case p.Selector != nil:
			var pods []string
			for _, e := range w.snapshot.Endpoints {
				if p.Selector.Matches(e.Labels) {
					pods = append(pods, e.Key)
				}
			}
			words = append(words, fmt.Sprintf("%s [%s]", selectorText(*p.Selector), list(pods, "pod")))
		case p.CIDR != nil:
			text := p.CIDR.Prefix.String()
			for _, e := range p.CIDR.Except {
				text += " without " + e.String()
			}
			words = append(words, text)
		default:
			words = append(words, "the services "+strings.Join(p.Services, ", "))
		}
	}
	if len(words) == 0 {
		return "nobody"
	}
	return strings.Join(words, " or ")
}

func selectorText(s policy.Selector) string {
	words := make([]string, 0, len(s.Requirements))
	for _, r := range s.Requirements {
		switch r.Operator {
		case policy.In:
			words = append(words, r.Key+"="+strings.Join(r.Values, "|"))
		case policy.NotIn:
			words = append(words, r.Key+"≠"+strings.Join(r.Values, "|"))
		case policy.Exists:
			words = append(words, r.Key)
		case policy.DoesNotExist:
			words = append(words, "no "+r.Key)
		}
	}
	if len(words) == 0 {
		return "all pods"
	}
	return "what has " + strings.Join(words, " and ")
}

func httpText(h policy.HTTPRule) string {
	action := "allow"
	if h.Action == policy.Deny {
		action = "deny"
		if h.Audit {
			action = "report (Audit)"
		}
	}
	var conditions []string
	add := func(what string, matches []policy.StringMatch) {
		if text := policy.Alternatives(matches); text != "" {
			conditions = append(conditions, what+" "+text)
		}
	}
	add("method", h.Methods)
	if h.Path.Kind != policy.MatchAny {
		add("path", []policy.StringMatch{h.Path})
	}
	add("host", h.Hosts)
	for _, m := range h.Headers {
		if m.Mismatch != policy.MismatchRefuse {
			conditions = append(conditions, fmt.Sprintf("(header %s is mended where it does not match)", m.Name))
			continue
		}
		if m.Secret != "" {
			conditions = append(conditions, fmt.Sprintf("header %s as in a Secret", m.Name))
			continue
		}
		add("header "+m.Name, []policy.StringMatch{m.Value})
	}
	if h.JWT != nil {
		conditions = append(conditions, tokenText(*h.JWT))
	}
	if len(conditions) == 0 {
		conditions = []string{"every request"}
	}
	rate := ""
	if h.Rate.Limited() {
		rate = fmt.Sprintf(", at most %d in %s on each node, and %d at once", h.Rate.Requests, h.Rate.Per, h.Rate.Burst)
	}
	return fmt.Sprintf("%s: %s %s%s", ruleLabel(h.ID), action, strings.Join(conditions, " and "), rate)
}

func tokenText(j policy.JWT) string {
	out := fmt.Sprintf("a valid token of the issuer %q", j.Issuer)
	if j.Header != "" {
		out += " in the header " + j.Header
	}
	for i, c := range j.Claims {
		out += []string{" with ", " and "}[min(i, 1)] + fmt.Sprintf("the claim %s %s", strings.Join(c.Path, "."), policy.Alternatives(c.Values))
	}
	return out
}

// list is a number of names, and the first of them.
func list(names []string, what string) string {
	const most = 8
	slices.Sort(names)
	if len(names) == 0 {
		return "no " + what
	}
	number := len(names)
	plural := what
	if len(names) != 1 {
		plural += "s"
	}
	rest := ""
	if len(names) > most {
		names, rest = names[:most], ", …"
	}
	return fmt.Sprintf("%d %s: %s%s", number, plural, strings.Join(names, ", "), rest)
}
