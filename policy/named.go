package policy

import (
	"fmt"
	"slices"
	"strings"
)

// splitByNamedPorts makes of an egress rule with named ports one rule for each different
// meaning that its peers give them.
func (u *universe) splitByNamedPorts(base rule, report func(Problem)) []rule {
	named := base.named
	base.named = nil
	var out []rule
	if base.any && len(base.ranges) > 0 {
		out = append(out, base)
	}
	peers := base.peers
	if base.any {
		peers = u.withEndpoints()
	}
	parts := map[string]*rule{}
	var order []string
	resolved := false
	for _, n := range peers {
		ranges := slices.Clone(base.ranges)
		found := false
		for _, p := range named {
			got := u.namedOnPeer(p, u.identities[n], base.deny)
			found = found || len(got) > 0
			ranges = append(ranges, got...)
		}
		resolved = resolved || found
		if base.l7 != nil {
			ranges = onlyCarried(base.l7, ranges)
		}
		ranges = sortRanges(ranges)
		if len(ranges) == 0 || base.any && !found {
			continue
		}
		text := fmt.Sprint(ranges)
		if parts[text] == nil {
			part := base
			part.any, part.peers, part.ranges = false, nil, ranges
			parts[text] = &part
			order = append(order, text)
		}
		parts[text].peers = append(parts[text].peers, n)
	}
	for _, text := range order {
		out = append(out, *parts[text])
	}
	if !resolved {
		report(Problem{Policy: base.id.Policy, Path: base.id.Path, Reason: ReasonUnresolved,
			Message: fmt.Sprintf("no peer has a port named %s: it selects nothing", portNames(named))})
	}
	if len(out) == 0 {
		// The rule still stands for its section; it matches nothing.
		base.any, base.peers, base.ranges = false, nil, nil
		out = append(out, base)
	}
	return out
}

// namedOnPeer returns what a named port means on the endpoints of one identity. They may
// differ: an allow opens what is right for all of them, a deny closes what is for one.
func (u *universe) namedOnPeer(p Port, identity Identity, deny bool) []portRange {
	var out []portRange
	for i, e := range u.endpoints[identity] {
		ranges := namedRanges(p, e.Ports, deny)
		switch {
		case i == 0 || deny:
			out = append(out, ranges...)
		default:
			out = slices.DeleteFunc(out, func(r portRange) bool { return !slices.Contains(ranges, r) })
		}
	}
	return sortRanges(out)
}

// withEndpoints returns the positions of the identities that endpoints have.
func (u *universe) withEndpoints() []int32 {
	var out []int32
	for n, identity := range u.identities[:u.firstHost] {
		if len(u.endpoints[identity]) > 0 {
			out = append(out, int32(n))
		}
	}
	return out
}

// resolveNamed gives the rule the ports that its names mean on the subject (ingress).
func resolveNamed(r rule, ports []NamedPort) rule {
	if len(r.named) == 0 {
		return r
	}
	r.ranges = slices.Clone(r.ranges)
	for _, p := range r.named {
		r.ranges = append(r.ranges, namedRanges(p, ports, r.deny)...)
	}
	if r.l7 != nil {
		r.ranges = onlyCarried(r.l7, r.ranges)
	}
	r.ranges = sortRanges(r.ranges)
	r.named = nil
	return r
}

func portNames(ports []Port) string {
	var names []string
	for _, p := range ports {
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	return strings.Join(names, ", ")
}
