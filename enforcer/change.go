package enforcer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds"
)

// The order of a change, so that nothing is redirected to a class that nobody
// serves, and no class goes while something is redirected to it:
//
//	 1. numbers are assigned and saved
//	 2. Envoy and Septum's own proxy are given the classes of the old and the new policy,
//	    acknowledge, and listen
//	 3. programs of pods that are policed no longer are detached
//	 4. the map entries are written
//	 5. programs of newly policed pods are attached
//	 6. open connections that may not go on as they are, are reset, and the update is saved
//	 7. both lose the classes that only the old policy had; those that linger take the rules
//	    that hold now (see lingering), and only then is the update reported as in force
//
// If one refuses, the classes and tables that are in force stay, and only who is who
// changes. If one is not there or does not answer, the change goes on without it: what is
// denied is denied, and what is redirected finds nobody.

// change is an update on its way into the data path.
type change struct {
	update xds.Update
	// np is update's policy with what pods have learnt.
	np      policy.NodePolicy
	numbers policy.Numbers
	// set has the classes of both policies, final only those of the new one and what lingers.
	set, final sets
	linger     []lingering
	// refused is true where update's policy has been replaced by what can be kept of it.
	refused bool
}

// advance begins the next update, if none is waiting for Envoy.
func (e *Enforcer) advance(ctx context.Context) {
	if e.next == nil || e.change != nil {
		return
	}
	original, update := e.next, *e.next
	e.next = nil
	if e.force.known && e.failed == nil && update.NodeVersion == e.force.seenNode && update.ClusterVersion == e.force.seenCluster {
		return
	}
	// A NodePolicy that this Envoy refused is not tried again, but who is who goes on changing.
	refused := e.refused != nil && update.NodeVersion == e.refused.NodeVersion
	if refused {
		e.refused = original
		update.NodePolicy = e.keepable(update.NodePolicy)
	}
	c, err := e.prepare(update)
	e.outcome("NumbersNotSaved", err)
	if err != nil {
		e.next = original // the tick tries again
		return
	}
	c.refused = refused
	e.failed = nil
	if refused || !e.config.Proxy.Connected() && !e.config.Own.Connected() {
		e.startAsk(ctx, c.set, nil)
		e.commit(ctx, c)
		return
	}
	e.change = c
	e.startAsk(ctx, c.set, c)
}

// prepare does what needs nobody: numbers and Envoy's resources.
func (e *Enforcer) prepare(update xds.Update) (*change, error) {
	inMaps := []policy.NodePolicy{e.force.policy}
	if e.failed != nil { // a part of it may have been written
		inMaps = append(inMaps, e.failed.np)
	}
	c := &change{update: update, np: e.withLearnt(update.NodePolicy)}
	c.linger = e.left(c.np)
	was := slices.Concat(e.force.policy.Classes, lingeringClasses(e.linger))
	inMaps = append(inMaps, policy.NodePolicy{Classes: classesOf(e.linger)}, policy.NodePolicy{Classes: classesOf(c.linger)})
	c.numbers = e.numbers.Assign(c.np, inMaps...)
	e.numbers = c.numbers
	if err := e.config.Store.SaveNumbers(c.numbers); err != nil {
		return nil, fmt.Errorf("save numbers: %w", err)
	}
	// A class that has no number or resources is left out, here as in the maps.
	var err, errBoth error
	// What is left of the policy before needs its secrets.
	np := withSecrets(c.np, withoutNamed(e.force.policy, c.np.Classes))
	c.final, err = e.setsFor(withClasses(np, lingeringClasses(c.linger)), c.numbers)
	c.set, errBoth = e.setsFor(withClasses(np, was), c.numbers)
	e.outcome("ClassWithoutListener", errors.Join(err, errBoth))
	return c, nil
}

// withClasses is np and the classes of old that it does not have.
func withClasses(np policy.NodePolicy, old []policy.Class) policy.NodePolicy {
	has := map[policy.ClassID]bool{}
	for _, c := range np.Classes {
		has[c.ID] = true
	}
	classes := append([]policy.Class(nil), np.Classes...)
	for _, c := range old {
		if !has[c.ID] {
			classes = append(classes, c)
		}
	}
	np.Classes = classes
	return np
}

// withSecrets is np and the secrets of old that it does not have.
func withSecrets(np, old policy.NodePolicy) policy.NodePolicy {
	has := map[policy.SecretID]bool{}
	for _, s := range np.Secrets {
		has[s.ID] = true
	}
	secrets := append([]policy.Secret(nil), np.Secrets...)
	for _, s := range old.Secrets {
		if !has[s.ID] {
			secrets = append(secrets, s)
		}
	}
	slices.SortFunc(secrets, policy.CompareSecrets)
	np.Secrets = secrets
	return np
}

// withoutNamed is old without the secrets that the classes name: one that they are not given any
// more has been taken away, and what needs it is closed.
func withoutNamed(old policy.NodePolicy, classes []policy.Class) policy.NodePolicy {
	named := map[policy.SecretID]bool{}
	for _, c := range classes {
		for _, id := range c.Secrets() {
			named[id] = true
		}
	}
	old.Secrets = slices.DeleteFunc(slices.Clone(old.Secrets), func(s policy.Secret) bool { return named[s.ID] })
	return old
}

// answered goes on with the change that Envoy answered to.
func (e *Enforcer) answered(ctx context.Context, a answer) {
	if a.number != e.ask.number {
		return
	}
	c := a.change
	e.change = nil
	if c == nil {
		e.lingered(a.err)
	}
	switch {
	case a.err == nil:
		delete(e.problems, reasonSilent)
		if c != nil {
			delete(e.problems, reasonRefused)
			e.refused = nil
		}
	case notConnected(a.err):
		delete(e.problems, reasonSilent)
	case errors.Is(a.err, context.DeadlineExceeded):
		e.problem(reasonSilent, a.err)
	case errors.Is(a.err, context.Canceled):
		return
	default:
		e.problem(reasonRefused, a.err)
		if c != nil {
			e.refused = &c.update
			c = e.fallBack(c)
		}
	}
	if c != nil {
		e.commit(ctx, c)
	}
}

// The problems that Envoy and Septum's own proxy can make.
const (
	reasonRefused = "ProxyRefused"
	reasonSilent  = "ProxyNotAnswering"
)

// fallBack is what is done instead of a change that a proxy refused. It has its old set
// again already, and commit gives that to the other.
func (e *Enforcer) fallBack(refused *change) *change {
	update := refused.update
	update.NodePolicy = e.keepable(update.NodePolicy)
	c, err := e.prepare(update)
	e.outcome("NumbersNotSaved", err)
	if err != nil {
		return nil
	}
	c.refused = true
	return c
}

// keepable is the policy in force with np's addresses, identities and endpoints: pods
// come, go and pass their addresses on whatever becomes of the rules. An endpoint whose
// tables are not in force is closed.
func (e *Enforcer) keepable(np policy.NodePolicy) policy.NodePolicy {
	old := e.force.policy
	tables := map[policy.TableID]bool{"": true}
	for _, t := range old.Tables {
		tables[t.ID] = true
	}
	before := map[string]policy.EndpointPolicy{}
	for _, ep := range old.Endpoints {
		before[ep.Key+" "+ep.UID] = ep
	}
	kept := np
	kept.Tables, kept.Classes, kept.Applied = append([]policy.Table(nil), old.Tables...), old.Classes, old.Applied
	kept = withSecrets(kept, old)
	kept.Endpoints = nil
	for _, ep := range np.Endpoints {
		if !tables[ep.Ingress] || !tables[ep.Egress] {
			if b, ok := before[ep.Key+" "+ep.UID]; ok {
				ep.Ingress, ep.Egress = b.Ingress, b.Egress
			} else {
				ep.Ingress, ep.Egress = closed(policy.Ingress).ID, closed(policy.Egress).ID
			}
		}
		kept.Endpoints = append(kept.Endpoints, ep)
	}
	for _, t := range []policy.Table{closed(policy.Ingress), closed(policy.Egress)} {
		if !tables[t.ID] {
			kept.Tables = append(kept.Tables, t)
		}
	}
	return kept
}

// closed is a table that denies everything.
func closed(d policy.Direction) policy.Table {
	return policy.Table{ID: policy.TableID(fmt.Sprintf("closed/%d", d)), Direction: d, DefaultDeny: true}
}

// commit writes a change into the data path.
func (e *Enforcer) commit(ctx context.Context, c *change) {
	e.meets(c.update.NodePolicy)
	np := e.withStarts(e.withLearnt(c.update.NodePolicy))
	before := e.linger
	e.linger = c.linger
	e.detachUnpoliced(np)
	e.readCounters() // those of rules that go are deleted
	err := e.write(np, c.numbers)
	e.outcome("MapsNotWritten", err)
	if err != nil {
		e.failed, e.linger = c, before
		return
	}
	e.counts.begin(c.update.NodePolicy.Applied)
	e.force.known, e.force.told, e.force.served, e.last = true, c.update.NodePolicy, c.np, c.update
	e.force.numbers, e.force.rules = c.numbers, c.numbers.RulesByNumber()
	e.force.seenNode, e.force.seenCluster = c.update.NodeVersion, c.update.ClusterVersion
	e.force.clusterVersion = c.update.ClusterVersion
	e.endOthers()
	e.holds(np)
	e.shown(np)
	e.syncPods(false)
	if !c.refused {
		e.force.awaited = c.update.NodeVersion
		e.outcome("StateNotSaved", e.config.Store.SaveUpdate(c.update))
	}
	e.config.Metrics.applied(e.config.Now(), len(e.pods.wanted))
	if len(e.linger) == 0 || !e.config.Proxy.Connected() {
		e.inForce()
	}
	// What one proxy refused, the other may have taken: its classes are then the new ones.
	if c.final.version() != c.set.version() || c.refused && len(c.set.own.Classes) > 0 {
		e.startAsk(ctx, c.final, nil)
		return
	}
	e.inForce()
}

// inForce has what was committed last reported, now that nothing is judged by older rules.
func (e *Enforcer) inForce() {
	if e.force.awaited != "" {
		e.force.nodeVersion, e.force.awaited = e.force.awaited, ""
	}
}
