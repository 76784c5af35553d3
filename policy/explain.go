package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Answer is what one rule says to a request.
type Answer struct {
	Rule   RuleID
	Action Action
	// Holds is true if all of the rule's conditions hold.
	Holds bool
	// Why says in words which condition does not hold; "" if all do.
	Why string
}

// Explain returns what each rule of the endpoint's policies says to the request, sorted by
// rule: why [Decide] decides as it does. It returns nothing where no policy selects the endpoint.
func Explain(np NodePolicy, req Request) []Answer {
	ep, ok := np.endpointOf(req.Endpoint)
	id := ep.Ingress
	if req.Direction == Egress {
		id = ep.Egress
	}
	n := slices.IndexFunc(np.Tables, func(t Table) bool { return t.ID == id })
	if !ok || id == "" || n < 0 {
		return nil
	}
	t := np.Tables[n]
	peer := np.IdentityOf(req.Peer)
	chosen, _ := t.Lookup(peer, req.Protocol, req.Port)
	answers := map[RuleID]Answer{}
	for _, e := range t.Entries {
		for _, rule := range e.Rules {
			a := answers[rule]
			a.Rule = rule
			switch {
			case slices.Contains(chosen.Rules, rule):
				a.Why, a.Holds = "", true
				if chosen.Verdict == Denied || chosen.Verdict == Audited {
					a.Action = Deny
				}
			case a.Holds:
			case e.Identity == peer || e.Identity == IdentityAny:
				a.Why = "it is for other ports or protocols"
			case a.Why == "":
				a.Why = "it is for other peers"
			}
			answers[rule] = a
		}
	}
	if i := slices.IndexFunc(np.Classes, func(c Class) bool { return c.ID == chosen.Class }); i >= 0 && chosen.Verdict == Redirected && req.HTTP != nil {
		http := *req.HTTP
		if req.TLS != nil {
			http.ServerName = req.TLS.ServerName
		}
		within := np.Reveal(np.Classes[i]).explain(http)
		// The rules inside say more than the one that holds them.
		for rule := range answers {
			if slices.ContainsFunc(within, func(a Answer) bool { return inside(a.Rule, rule) }) {
				delete(answers, rule)
			}
		}
		for _, a := range within {
			answers[a.Rule] = a
		}
	}
	out := make([]Answer, 0, len(answers))
	for _, a := range answers {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Answer) int { return CompareRuleIDs(a.Rule, b.Rule) })
	return out
}

func inside(rule, outer RuleID) bool {
	return rule.Policy == outer.Policy && strings.HasPrefix(rule.Path, outer.Path+".")
}

// explain asks each HTTP rule of the class.
func (c Class) explain(req HTTPRequest) []Answer {
	path, ok := NormalizePath(req.Path)
	out := make([]Answer, 0, len(c.HTTP))
	req.Path = path
	for _, r := range c.HTTP {
		a := Answer{Rule: r.ID, Action: r.Action, Holds: ok && r.holds(req)}
		switch {
		case !ok:
			a.Why = "the path cannot be normalised"
		case !a.Holds:
			a.Why = r.whyNot(req)
		}
		out = append(out, a)
	}
	return out
}

// whyNot names the first condition that does not hold.
func (r HTTPRule) whyNot(req HTTPRequest) string {
	deny := r.Action == Deny
	host := NormalizeHost(req.Host)
	switch {
	case r.Sealed():
		return "a value that it needs is not known here"
	case !r.nameHolds(req.ServerName):
		return fmt.Sprintf("it is not for the TLS server name %q", req.ServerName)
	case !oneHolds(r.Methods, req.Method, deny):
		return fmt.Sprintf("the method %q is not %s", req.Method, Alternatives(r.Methods))
	case !r.pathHolds(req.Path):
		return fmt.Sprintf("the path %q is not %s", req.Path, Alternatives([]StringMatch{r.Path}))
	case len(r.Hosts) > 0 && !slices.ContainsFunc(r.Hosts, func(m StringMatch) bool { return hostHolds(m, host, deny) }):
		return fmt.Sprintf("the host %q is not %s", host, Alternatives(r.Hosts))
	}
	for _, h := range r.Headers {
		if h.Mismatch == MismatchRefuse && !h.holds(req.Header, deny) {
			return fmt.Sprintf("the header %q does not match", h.Name)
		}
	}
	if !r.JWT.holds(req) {
		return r.JWT.whyNot(req)
	}
	return "another condition does not hold"
}

// Alternatives are matches in words; "" for none.
func Alternatives(matches []StringMatch) string {
	words := make([]string, 0, len(matches))
	for _, m := range matches {
		kind := map[MatchKind]string{MatchAny: "anything", MatchExact: "exactly ", MatchPrefix: "begun by ", MatchRegex: "matched whole by "}[m.Kind]
		if m.Kind != MatchAny {
			kind += fmt.Sprintf("%q", m.Value)
		}
		words = append(words, kind)
	}
	return strings.Join(words, " or ")
}
