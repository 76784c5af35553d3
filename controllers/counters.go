package controllers

import (
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// tally counts verdicts, and connections that went on without one.
type tally struct{ allowed, denied, audited, unjudged int64 }

func (t tally) add(o tally) tally {
	return t.each(o, func(a, b int64) int64 { return a + b })
}

func (t tally) sub(o tally) tally {
	return t.each(o, func(a, b int64) int64 { return a - b })
}

func (t tally) each(o tally, f func(a, b int64) int64) tally {
	return tally{f(t.allowed, o.allowed), f(t.denied, o.denied), f(t.audited, o.audited), f(t.unjudged, o.unjudged)}
}

// nodeCount is what one node counted for one policy: base is from before the counters
// last began at 0, total is what the node says now.
type nodeCount struct{ base, total tally }

func (c nodeCount) sum() tally { return c.base.add(c.total) }

// counters are the verdicts of all policies. They never go down when an enforcer or the
// operator starts again, or a node goes.
type counters struct {
	byPolicy map[policy.Ref]*policyCounters
	// instance is the life of each node's counters.
	instance map[string]string
}

type policyCounters struct {
	// uid is the policy's: one that is made anew under the same name counts from 0.
	uid   string
	nodes map[string]nodeCount
	// gone is what nodes counted that are no more, and what was counted before the
	// operator started by nodes that have no row in the status.
	gone tally
	last denial
}

// denial is the last refusal, as a node has put it into words.
type denial struct {
	// at is in nanoseconds since 1970; 0 if nothing was denied.
	at            int64
	summary, rule string
}

func (d denial) or(o denial) denial {
	if o.at > d.at || o.at == d.at && o.summary != "" {
		return o
	}
	return d
}

func newCounters() *counters {
	return &counters{byPolicy: map[policy.Ref]*policyCounters{}, instance: map[string]string{}}
}

func (c *counters) of(ref policy.Ref) *policyCounters {
	p := c.byPolicy[ref]
	if p == nil {
		p = &policyCounters{nodes: map[string]nodeCount{}}
		c.byPolicy[ref] = p
	}
	return p
}

// seed takes what was written before the operator started: the whole, and the part of
// each node that has a row. Nodes that have reported since know better, and what was written
// about an earlier policy of that name is nothing.
func (c *counters) seed(ref policy.Ref, uid string, whole tally, rows map[string]tally, last denial) {
	p := c.of(ref)
	if p.uid == "" {
		p.uid = uid
	}
	if p.uid != uid {
		return
	}
	p.last = p.last.or(last)
	p.gone = whole
	for node, row := range rows {
		p.gone = p.gone.sub(row)
		p.nodes[node] = nodeCount{base: row}
	}
}

// report takes a node's totals. With a new instance they have begun at 0: what was
// counted until then is kept. An instance that is the first since the operator started
// may be an old one, whose totals have been written already: then only what is more counts.
func (c *counters) report(node, instance string, reported []*septumpb.RuleCounter) {
	before, known := c.instance[node]
	c.instance[node] = instance
	for _, r := range reported {
		ref := policy.Ref{Kind: r.GetKind(), Namespace: r.GetNamespace(), Name: r.GetName()}
		total := tally{int64(r.GetAllowed()), int64(r.GetDenied()), int64(r.GetAudited()), int64(r.GetUnjudged())}
		p := c.byPolicy[ref]
		if p == nil || r.GetUid() != "" && r.GetUid() != p.uid {
			continue // a policy that is gone
		}
		p.last = p.last.or(denial{at: r.GetLastDenied(), summary: r.GetLastDenial(), rule: r.GetLastRule()})
		count, counted := p.nodes[node]
		switch {
		case known && before != instance:
			count.base = count.sum()
		case !known && counted:
			count.base = count.base.each(total, func(base, total int64) int64 { return max(0, base-total) })
		case !known:
			written := p.gone.each(total, func(gone, total int64) int64 { return min(max(0, gone), total) })
			p.gone, count.base = p.gone.sub(written), tally{}
		}
		count.total = total
		p.nodes[node] = count
	}
	if known && before != instance {
		c.restarted(node, reported)
	}
}

// restarted keeps the counts of policies for which the new instance has none yet.
func (c *counters) restarted(node string, reported []*septumpb.RuleCounter) {
	seen := make(map[policy.Ref]bool, len(reported))
	for _, r := range reported {
		seen[policy.Ref{Kind: r.GetKind(), Namespace: r.GetNamespace(), Name: r.GetName()}] = true
	}
	for ref, p := range c.byPolicy {
		if count, ok := p.nodes[node]; ok && !seen[ref] {
			p.nodes[node] = nodeCount{base: count.sum()}
		}
	}
}

// keep drops policies that are gone, by their UIDs, and moves what nodes counted that are gone.
func (c *counters) keep(policies map[policy.Ref]string, nodes map[string]nodeRecord) {
	for ref, p := range c.byPolicy {
		if uid, ok := policies[ref]; !ok || uid != p.uid {
			delete(c.byPolicy, ref)
			continue
		}
		for node, count := range p.nodes {
			if _, ok := nodes[node]; !ok {
				p.gone = p.gone.add(count.sum())
				delete(p.nodes, node)
			}
		}
	}
	for node := range c.instance {
		if _, ok := nodes[node]; !ok {
			delete(c.instance, node)
		}
	}
	for ref, uid := range policies {
		c.of(ref).uid = uid
	}
}

func (p *policyCounters) sum() tally {
	out := p.gone
	for _, count := range p.nodes {
		out = out.add(count.sum())
	}
	return out
}
