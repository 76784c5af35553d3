package policy

import (
	"fmt"
	"slices"
)

// MaxClassRules is how many HTTP or DNS rules one class can have: those of all policies for the same
// subject, peer and port together. It bounds what one class can cost a node's proxy.
const MaxClassRules = 20_000

// tooMuch reports what a class has no room for.
func (f *folder) tooMuch(p Problem) {
	f.limited = true
	f.report(p)
}

// limitHTTP leaves out the rules that Envoy has no room for, which then allow nothing.
func (f *folder) limitHTTP(c *Class) {
	c.HTTP = f.withinRates(f.withinTokenSources(f.withinHeaderActions(c.HTTP)))
}

// limit leaves out what is above MaxClassRules: allow rules first, which then allow nothing.
// Deny rules are never left out alone: where they are too many, the class denies everything.
func (f *folder) limit(c *Class) {
	f.limitDNS(c)
	f.limitKafka(c)
	if len(c.HTTP) <= MaxClassRules {
		return
	}
	denies := 0
	for _, r := range c.HTTP {
		if r.Action == Deny {
			denies++
		}
	}
	room := MaxClassRules - denies
	if room < 0 {
		room, c.AllowAll, c.AuditRest = 0, nil, false
	}
	var out []HTTPRule
	told := map[Ref]bool{}
	for _, r := range c.HTTP {
		if r.Action == Deny && denies <= MaxClassRules {
			out = append(out, r)
			continue
		}
		if r.Action == Allow && room > 0 {
			out, room = append(out, r), room-1
			continue
		}
		if told[r.ID.Policy] {
			continue
		}
		told[r.ID.Policy] = true
		f.tooMuch(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
			"the HTTP rules of all policies for the same pods, peer and port are %d, and %d are possible: this rule and those of the policy after it allow nothing",
			len(c.HTTP), MaxClassRules)})
	}
	c.HTTP = slices.Clip(out)
}

// limitKafka closes a class of too many rules: they are not worth to be sorted out.
func (f *folder) limitKafka(c *Class) {
	if len(c.Kafka) <= MaxClassRules {
		return
	}
	last := Ref{}
	for _, r := range c.Kafka {
		if r.ID.Policy == last {
			continue
		}
		last = r.ID.Policy
		f.tooMuch(Problem{Policy: last, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
			"the Kafka rules of all policies for the same pods, peer and port are %d, and %d are possible: together they allow nothing",
			len(c.Kafka), MaxClassRules)})
	}
	c.Kafka, c.AllowAll, c.AuditRest = nil, nil, false
}

func (f *folder) limitDNS(c *Class) {
	if len(c.DNS) <= MaxClassRules {
		return
	}
	last := Ref{}
	for _, r := range c.DNS[MaxClassRules:] {
		if r.ID.Policy == last {
			continue
		}
		last = r.ID.Policy
		f.tooMuch(Problem{Policy: last, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
			"the DNS rules of all policies for the same pods, peer and port are %d, and %d are possible: this rule and those of the policy after it allow nothing",
			len(c.DNS), MaxClassRules)})
	}
	c.DNS = slices.Clip(c.DNS[:MaxClassRules])
}
