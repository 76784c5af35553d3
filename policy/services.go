package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// servicePort is one port of a service's virtual addresses, and where it leads.
type servicePort struct {
	// key is the service's.
	key      string
	identity Identity
	protocol Protocol
	port     uint16
	targets  []target
}

// target is a backend as a table judges it.
type target struct {
	identity Identity
	port     uint16
}

// servicePorts returns every port of every service that has virtual addresses, in order.
func (u *universe) servicePorts() []servicePort {
	var out []servicePort
	for key, identity := range u.book.services {
		for _, p := range u.services[key].Ports {
			sp := servicePort{key: key, identity: identity, protocol: p.Protocol}
			sp.port = p.Port
			for _, b := range p.Backends {
				backend := u.identityOf(b.Addr())
				sp.targets = append(sp.targets, target{backend, b.Port()})
				if backend.IsNode() && !u.isAPI(backend) {
					// It is the host for the pods of its own node.
					sp.targets = append(sp.targets, target{IdentityHost, b.Port()})
				}
			}
			slices.SortFunc(sp.targets, func(a, b target) int {
				return cmp.Or(cmp.Compare(a.identity, b.identity), cmp.Compare(a.port, b.port))
			})
			sp.targets = slices.Compact(sp.targets)
			out = append(out, sp)
		}
	}
	slices.SortFunc(out, func(a, b servicePort) int {
		return cmp.Or(cmp.Compare(a.identity, b.identity), cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port))
	})
	return out
}

// serviceEntries returns the entries for services' virtual addresses: the data path sees
// them before they are translated, so each port is judged by where it leads. It is
// allowed only if the table allows every ready backend, in the same way, where a mixed table's
// policies in Audit mode do not make the difference; nothing is
// written where the entries of IdentityAny or the default say the same.
func (c *compiler) serviceEntries(t Table, mixed bool) []Entry {
	var out []Entry
	for _, n := range c.concernedServices(t) {
		sp := &c.servicePorts[n]
		got := sp.judge(t)
		if got.Verdict == Denied && mixed && c.refusesNothing(sp, t) {
			got = Entry{Verdict: Audited}
		}
		if got.Verdict == Denied {
			c.warnPartly(sp, t)
		}
		plain := t.verdict(sp.identity, sp.protocol, sp.port)
		if got.Verdict != plain.Verdict || got.Class != plain.Class {
			got.Identity, got.Protocol, got.Port, got.PrefixLen = sp.identity, sp.protocol, sp.port, 16
			out = append(out, got)
		}
	}
	return slices.CompactFunc(out, func(a, b Entry) bool { return CompareEntries(a, b) == 0 })
}

// concernedServices returns the service ports that can have an entry in t: all of them
// if t can say anything about an identity that it does not name.
func (c *compiler) concernedServices(t Table) []int32 {
	if !t.DefaultDeny || len(t.Entries) > 0 && t.Entries[0].Identity == IdentityAny {
		return c.allServicePorts
	}
	var out []int32
	last := IdentityAny
	for _, e := range t.Entries {
		if e.Identity != last {
			last = e.Identity
			out = append(out, c.servicesOf[e.Identity]...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// warnPartly tells the rules that allow some of a service port's backends, which does not
// allow its address: the data path sees the address before a backend is chosen. Where a
// deny rule closes the others, that is meant.
func (c *compiler) warnPartly(sp *servicePort, t Table) {
	var some []RuleID
	for _, to := range sp.targets {
		e := t.verdict(to.identity, sp.protocol, to.port)
		if e.Verdict == Denied && len(e.Rules) > 0 {
			return
		}
		if e.Verdict != Denied {
			some = append(some, e.Rules...)
		}
	}
	for _, id := range some {
		c.report(Problem{Policy: id.Policy, Path: id.Path, Reason: ReasonPartly, Warning: true, Message: fmt.Sprintf(
			"only some backends of service %q port %d are allowed, or not all in the same way, so that its address is refused: allow all of them, or connect to the pods themselves", sp.key, sp.port)})
	}
}

// judge combines the verdicts on a service port's backends. None means denied.
func (sp *servicePort) judge(t Table) Entry {
	if len(sp.targets) == 0 {
		return Entry{Verdict: Denied}
	}
	var out Entry
	var rules []RuleID
	for i, to := range sp.targets {
		e := t.verdict(to.identity, sp.protocol, to.port)
		if e.Verdict == Denied {
			return Entry{Verdict: Denied, Rules: e.Rules}
		}
		if i > 0 && (e.Verdict == Audited && out.Verdict == Forwarded || e.Verdict == Forwarded && out.Verdict == Audited) {
			// What only audits does not count, but is reported.
			if e.Verdict == Audited {
				out.Verdict, rules = Audited, e.Rules
			}
			continue
		}
		if i > 0 && (e.Verdict != out.Verdict || e.Class != out.Class) {
			return Entry{Verdict: Denied}
		}
		out.Verdict, out.Class = e.Verdict, e.Class
		rules = append(rules, e.Rules...)
	}
	slices.SortFunc(rules, CompareRuleIDs)
	out.Rules = slices.Compact(rules)
	return out
}

// refusesNothing says whether the backends are allowed, though not all in the same way, and
// no class that they lead to refuses anything.
func (c *compiler) refusesNothing(sp *servicePort, t Table) bool {
	return len(sp.targets) > 0 && !slices.ContainsFunc(sp.targets, func(to target) bool {
		e := t.verdict(to.identity, sp.protocol, to.port)
		return e.Verdict == Denied || e.Verdict == Redirected && !c.classes[e.Class].refusesNothing()
	})
}

// verdict is Lookup with the default filled in.
func (t Table) verdict(peer Identity, protocol Protocol, port uint16) Entry {
	if e, ok := t.Lookup(peer, protocol, port); ok {
		return e
	}
	if t.DefaultDeny {
		return Entry{Verdict: Denied}
	}
	if t.AuditRest {
		return Entry{Verdict: Audited}
	}
	return Entry{Verdict: Forwarded}
}
