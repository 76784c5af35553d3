package policy

import (
	"net/netip"
	"slices"
)

// Decide judges one request at one end: the oracle that every backend must agree with.
func Decide(np NodePolicy, req Request) Decision {
	ep, ok := np.endpointOf(req.Endpoint)
	if !ok {
		return Decision{Verdict: Forwarded, Reason: "not selected by a policy"}
	}
	id := ep.Ingress
	if req.Direction == Egress {
		id = ep.Egress
	}
	if id == "" {
		return Decision{Verdict: Forwarded, Reason: "no policy in this direction"}
	}
	n := slices.IndexFunc(np.Tables, func(t Table) bool { return t.ID == id })
	if n < 0 {
		return Decision{Verdict: Denied, Reason: "the table is missing"}
	}
	return np.Tables[n].decide(np, req)
}

func (t Table) decide(np NodePolicy, req Request) Decision {
	e, ok := t.Lookup(np.IdentityOf(req.Peer), req.Protocol, req.Port)
	switch {
	case !ok && t.AuditRest:
		return refuse(true, RuleID{}, "no rule matched")
	case !ok && !t.DefaultDeny:
		return Decision{Verdict: Forwarded, Reason: "no default deny"}
	case !ok:
		return refuse(t.Audit, RuleID{}, "no rule matched")
	case e.Verdict == Denied:
		return refuse(t.Audit, first(e.Rules), "denied by rule")
	case e.Verdict == Audited:
		return refuse(true, first(e.Rules), "denied by rule")
	case e.Verdict == Forwarded:
		return Decision{Verdict: Forwarded, Rule: first(e.Rules), Reason: "allowed by rule"}
	case e.Verdict != Redirected:
		return refuse(t.Audit, first(e.Rules), "unknown verdict")
	}
	if req.Unserved {
		return np.unserved(t, e)
	}
	if req.HTTP == nil && req.DNS == nil && req.TLS == nil && req.Kafka == nil {
		return Decision{Verdict: Redirected, Rule: first(e.Rules), Class: e.Class, Reason: "layer 7 rules decide"}
	}
	n := slices.IndexFunc(np.Classes, func(c Class) bool { return c.ID == e.Class })
	if n < 0 {
		return Decision{Verdict: Denied, Class: e.Class, Reason: "the class is missing"}
	}
	d := np.Reveal(np.Classes[n]).decide(req)
	d.Class = e.Class
	return d
}

// decide judges a request that is of the class's kind: what is not is no valid request. A
// request inside of TLS is seen only where its connection is inspected.
func (c Class) decide(req Request) Decision {
	switch {
	case c.Kind == KindTLS:
		d := c.DecideTLS(req.TLS)
		if d.Verdict == Redirected && req.HTTP != nil {
			http := *req.HTTP
			http.ServerName = req.TLS.ServerName
			return c.DecideHTTP(http)
		}
		return d
	case req.TLS != nil:
		return Decision{Verdict: Denied, Reason: "TLS where the rules are about what is inside"}
	case c.Kind == KindHTTP && req.HTTP != nil:
		return c.DecideHTTP(*req.HTTP)
	case c.Kind == KindDNS && req.DNS != nil:
		return c.DecideDNS(*req.DNS)
	case c.Kind == KindKafka && req.Kafka != nil:
		return c.DecideKafka(*req.Kafka)
	}
	return Decision{Verdict: Denied, Reason: "not " + c.Kind.String()}
}

// unserved is what becomes of a connection whose L7 rules nobody can ask.
func (np NodePolicy) unserved(t Table, e Entry) Decision {
	for _, c := range np.Classes {
		if c.ID == e.Class && c.Failure == FailOpen {
			return Decision{Verdict: Forwarded, Rule: first(e.Rules), Class: e.Class, Reason: "not judged: the proxy cannot, and the policy fails open"}
		}
	}
	d := refuse(t.Audit, first(e.Rules), "the proxy cannot judge it")
	d.Class = e.Class
	return d
}

// DecideHTTP judges a request by a class's rules: denies first, then allows.
func (c Class) DecideHTTP(req HTTPRequest) Decision {
	path, ok := NormalizePath(req.Path)
	if !ok {
		// Not valid HTTP: it is refused before any rule is asked, also in Audit mode.
		return Decision{Verdict: Denied, Reason: "the path cannot be normalised"}
	}
	req.Path = path
	if reason, hard := c.unclear(req); reason != "" {
		return refuse(c.Audit || !hard, RuleID{}, reason)
	}
	rules := c.ratedLast()
	return c.byRules(len(rules), func(i int) judge {
		r := rules[i]
		return judge{r.ID, r.Action, r.Audit, func() bool { return r.holds(req) }}
	}).withRate(c.Rated())
}

// judge is a rule of any kind that is asked about a request.
type judge struct {
	id     RuleID
	action Action
	audit  bool
	holds  func() bool
}

// byRules asks n rules: denies first, then allows. Of what goes on, the denies that audit report
// what they would have refused.
func (c Class) byRules(n int, at func(i int) judge) Decision {
	first := func(action Action, audit bool) (judge, bool) {
		for i := range n {
			if r := at(i); r.action == action && (action == Allow || r.audit == audit) && r.holds() {
				return r, true
			}
		}
		return judge{}, false
	}
	if r, ok := first(Deny, false); ok {
		return refuse(c.Audit, r.id, "denied by rule")
	}
	d := c.rest()
	if r, ok := first(Allow, false); ok {
		d = Decision{Verdict: Forwarded, Rule: r.id, Reason: "allowed by rule"}
	}
	if d.Verdict == Denied {
		return d
	}
	if r, ok := first(Deny, true); ok {
		return refuse(true, r.id, "denied by rule")
	}
	return c.audited(d)
}

// audited is a decision after the rule on layers 3 and 4 that audits all of the class.
func (c Class) audited(d Decision) Decision {
	if c.AuditAll != nil && (d.Verdict == Forwarded || d.Verdict == Audited) {
		return refuse(true, *c.AuditAll, "denied by rule")
	}
	return d
}

// refusesNothing says whether every request of the class's kind goes on.
func (c *Class) refusesNothing() bool {
	return c.AllowAll != nil && !slices.ContainsFunc(c.HTTP, func(r HTTPRule) bool { return r.Action == Deny && !r.Audit }) &&
		!slices.ContainsFunc(c.Kafka, func(r KafkaRule) bool { return r.Action == Deny && !r.Audit })
}

// endpointOf returns the endpoint with that address. Host-network pods have none of their own.
func (np NodePolicy) endpointOf(addr netip.Addr) (EndpointPolicy, bool) {
	addr = addr.Unmap()
	for _, e := range np.Endpoints {
		if !e.HostNetwork && slices.Contains(e.Addrs, addr) {
			return e, true
		}
	}
	return EndpointPolicy{}, false
}

func refuse(audit bool, rule RuleID, reason string) Decision {
	if audit {
		return Decision{Verdict: Audited, Rule: rule, Reason: reason}
	}
	return Decision{Verdict: Denied, Rule: rule, Reason: reason}
}

func first(rules []RuleID) RuleID {
	if len(rules) == 0 {
		return RuleID{}
	}
	return rules[0]
}
