package policy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// subjects are the endpoints' different sets of labels.
type subjects struct {
	sets []Labels
	// of is the number of each endpoint's set.
	of []int32
}

// newSubjects groups endpoints by identity; one whose labels are not its identity's
// (a host-network pod, for one) is grouped by the labels themselves.
func newSubjects(s Snapshot) subjects {
	out := subjects{of: make([]int32, len(s.Endpoints))}
	byIdentity, byText := map[Identity]int32{}, map[string]int32{}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		n, ok := byIdentity[e.Identity]
		if ok && maps.Equal(out.sets[n], e.Labels) {
			out.of[i] = n
			continue
		}
		text := labelsText(e.Labels)
		if n, ok = byText[text]; !ok {
			n = int32(len(out.sets))
			out.sets = append(out.sets, e.Labels)
			byText[text] = n
			byIdentity[e.Identity] = n
		}
		out.of[i] = n
	}
	return out
}

func labelsText(l Labels) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(l)) {
		b.WriteString(key + "\x00" + l[key] + "\x00")
	}
	return b.String()
}

// compiledSpec is a Spec with both its sections.
type compiledSpec struct {
	policy          *Policy
	ingress, egress *section
}

// Policed says whether a policy selects the endpoint in at least one direction.
func (e EndpointPolicy) Policed() bool { return e.Ingress != "" || e.Egress != "" }

// tableCache finds the table of an endpoint that has the same labels and named ports as another.
type tableCache map[tableKey]TableID

type tableKey struct {
	direction     Direction
	subject, host int32
	ports         string
}

func (t tableCache) get(c *compiler, d Direction, subject int32, e *Endpoint, specs []compiledSpec, host int32) TableID {
	key := tableKey{direction: d, subject: subject, host: host}
	if d == Ingress && len(e.Ports) > 0 {
		key.ports = portsKey(e.Ports)
	}
	if id, ok := t[key]; ok {
		return id
	}
	in := tableInput{direction: d, host: host, hostLabels: c.u.index.sets[host]}
	if d == Ingress {
		in.ports = e.Ports
	}
	for _, cs := range specs {
		s := cs.ingress
		if d == Egress {
			s = cs.egress
		}
		if s.selects() {
			in.sections = append(in.sections, s)
		}
	}
	var id TableID
	if len(in.sections) > 0 {
		problems := c.collect(func() {
			if d == Egress {
				c.seesNames(in.sections)
			}
			id = c.table(in)
		})
		if _, known := c.made[id]; !known {
			c.made[id] = madeTable{sections: in.sections, problems: problems}
		}
	}
	t[key] = id
	return id
}

// portsKey is the named ports as a text.
func portsKey(ports []NamedPort) string {
	var b strings.Builder
	for _, p := range ports {
		writeText(&b, p.Name)
		writeText(&b, strconv.Itoa(int(p.Protocol)))
		writeText(&b, strconv.Itoa(int(p.Port)))
	}
	return b.String()
}

func unmapped(addrs []netip.Addr) []netip.Addr {
	out := make([]netip.Addr, len(addrs))
	for i, a := range addrs {
		out[i] = a.Unmap()
	}
	return out
}

// checkNamed reports the section's named ports that none of the endpoints has which it selects.
func (m *memo) checkNamed(s *section, subjects []int32) {
	for i := range s.rules {
		r := &s.rules[i]
		if len(r.named) == 0 {
			continue
		}
		looked, found := false, false
		for _, n := range subjects {
			for _, at := range m.members[n] {
				e := &m.s.Endpoints[at]
				if e.HostNetwork || found {
					continue
				}
				for _, p := range r.named {
					looked, found = true, found || len(namedRanges(p, e.Ports, r.deny)) > 0
				}
			}
		}
		if looked && !found {
			m.c.report(Problem{Policy: r.id.Policy, Path: r.id.Path, Reason: ReasonUnresolved,
				Message: fmt.Sprintf("no selected pod has a port named %s: it selects nothing", portNames(r.named))})
		}
	}
}
