package policy

import (
	"fmt"
	"slices"
	"time"
)

// MaxClassRates is how many rules of one class can have a rate: they are asked one after the other.
const MaxClassRates = 256

// Rate is how many requests a rule lets through: a bucket of Burst that fills evenly with
// Requests in each Per. The zero value is no limit. Each node counts for itself, each rule by itself.
type Rate struct {
	Requests, Burst uint32
	Per             time.Duration
}

// Limited says whether there is a limit.
func (r Rate) Limited() bool { return r != Rate{} }

// Rated are the rules whose rates count, in their order: they are asked after those without one,
// and the first that holds decides. None counts where nothing is refused for want of a rule.
func (c Class) Rated() []HTTPRule {
	if c.Audit || c.AllowAll != nil {
		return nil
	}
	var out []HTTPRule
	for _, r := range c.HTTP {
		if r.Action == Allow && r.Rate.Limited() {
			out = append(out, r)
		}
	}
	return out
}

// ratedLast are the rules, those whose rates count behind the others.
func (c Class) ratedLast() []HTTPRule {
	rated := c.Rated()
	if rated == nil {
		return c.HTTP
	}
	rest := slices.DeleteFunc(slices.Clone(c.HTTP), func(r HTTPRule) bool { return r.Action == Allow && r.Rate.Limited() })
	return append(rest, rated...)
}

// withRate names the rate of the rule that decided.
func (d Decision) withRate(rated []HTTPRule) Decision {
	i := slices.IndexFunc(rated, func(r HTTPRule) bool { return r.ID == d.Rule })
	if d.Verdict == Forwarded && i >= 0 {
		d.Rate, d.Reason = rated[i].Rate, "allowed by rule, up to its rate"
	}
	return d
}

// withinRates leaves out the rules that would give a class too many rates: they allow nothing.
func (f *folder) withinRates(rules []HTTPRule) []HTTPRule {
	n := 0
	return slices.DeleteFunc(slices.Clone(rules), func(r HTTPRule) bool {
		if !r.Rate.Limited() {
			return false
		}
		if n++; n <= MaxClassRates {
			return false
		}
		f.tooMuch(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
			"of the rules for one peer and port %d can have a rate, and those before it have: the rule allows nothing", MaxClassRates)})
		return true
	})
}
