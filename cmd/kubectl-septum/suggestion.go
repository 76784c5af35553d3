package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// suggestion makes a CiliumNetworkPolicy of what was observed.
type suggestion struct {
	*observed
	siblings int
	// targets are the pods' ports behind a service's; nil where that is not known.
	targets func(service string, protocol string, port uint32) []uint32
	lines   []string
}

// maxPortsOfEntry is how many ports one entry of a rule may have.
const maxPortsOfEntry = 40

func (s *suggestion) line(depth int, format string, args ...any) {
	s.lines = append(s.lines, strings.Repeat("  ", depth)+fmt.Sprintf(format, args...))
}

// yaml is the policy, with comments that say what each rule comes from.
func (s *suggestion) yaml() string {
	all := s.all
	s.line(0, "# Suggested by kubectl septum from %s of %s/%s.", many(all.count, "flow"), s.namespace, s.workload)
	s.line(0, "# They were seen between %s and %s.", moments(all.first), moments(all.last))
	s.line(0, "# Review it: it allows what was seen, and refuses the rest in the directions that it has. Queries of URLs are not")
	s.line(0, "# in flows: every path is allowed with any.")
	for _, left := range []struct {
		n   int
		why string
	}{
		{s.refused, "refused, and is not allowed here (--include-denied allows it)"},
		{s.unreadable, "of a kind or with a text that no rule can be made of"},
		{s.surplus, "more than one suggestion is made of"},
	} {
		if left.n > 0 {
			s.line(0, "# Left out: %s: %s.", many(left.n, "flow"), left.why)
		}
	}
	if all.audited > 0 {
		s.line(0, "# %s went on only as a policy in Audit mode let them: look at these first.", many(all.audited, "flow"))
	}
	if all.denied > 0 {
		s.line(0, "# %s were refused, and are allowed here, as --include-denied asks.", many(all.denied, "flow"))
	}
	s.line(0, "apiVersion: cilium.io/v2")
	s.line(0, "kind: CiliumNetworkPolicy")
	s.line(0, "metadata:")
	s.line(1, "name: %s", quoted(s.workload+"-suggested"))
	s.line(1, "namespace: %s", quoted(s.namespace))
	s.line(0, "spec:")
	labels := identifying(s.labels)
	if labels == nil {
		s.line(1, "# The pods have no labels that tell them from others: this selects ALL pods of the namespace.")
		s.line(1, "endpointSelector: {}")
	} else {
		s.line(1, "endpointSelector:")
		s.matchLabels(2, labels)
	}
	for _, ingress := range []bool{true, false} {
		s.section(ingress)
	}
	return strings.Join(s.lines, "\n") + "\n"
}

func (s *suggestion) section(ingress bool) {
	name := "egress"
	if ingress {
		name = "ingress"
	}
	seen := s.direction(ingress)
	if len(seen) == 0 {
		s.line(1, "# No %s was seen: this policy does not restrict it.", name)
		return
	}
	byPeer := map[flowPeer][]seenAt{}
	for at := range seen {
		byPeer[at.peer] = append(byPeer[at.peer], at)
	}
	s.line(1, "%s:", name)
	for _, peer := range slices.SortedFunc(maps.Keys(byPeer), func(a, b flowPeer) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.text, b.text))
	}) {
		ports := byPeer[peer]
		slices.SortFunc(ports, func(a, b seenAt) int { return cmp.Or(cmp.Compare(a.protocol, b.protocol), cmp.Compare(a.port, b.port)) })
		icmp := func(at seenAt) bool { return at.protocol == "IPv4" || at.protocol == "IPv6" }
		var plain, echoes []seenAt
		for _, at := range ports {
			if icmp(at) {
				echoes = append(echoes, at)
			} else {
				plain = append(plain, at)
			}
		}
		for chunk := range slices.Chunk(plain, maxPortsOfEntry) {
			s.peer(ingress, peer, chunk, seen)
			s.line(2, "  toPorts:")
			for _, at := range chunk {
				s.port(at, seen[at])
			}
		}
		if len(echoes) > 0 {
			s.peer(ingress, peer, echoes, seen)
			s.line(2, "  icmps:")
			s.line(2, "  - fields:")
			for _, at := range echoes {
				s.line(3, "  - {family: %s, type: %d}", at.protocol, at.port)
			}
		}
	}
}

// peer begins a rule.
func (s *suggestion) peer(ingress bool, peer flowPeer, ports []seenAt, seen map[seenAt]map[seenWhat]*evidence) {
	var all evidence
	for _, at := range ports {
		for _, e := range seen[at] {
			all.add(*e)
		}
	}
	s.line(2, "# %s", evidenceText(all))
	side := "to"
	if ingress {
		side = "from"
	}
	switch peer.kind {
	case "endpoints":
		labels := labelsOf(peer.text)
		namespace := labels[namespaceLabel]
		if namespace == s.namespace {
			delete(labels, namespaceLabel)
		}
		if len(labels) == 0 || len(labels) == 1 && namespace != s.namespace {
			s.line(2, "# Its pods have no labels that tell them from others: this is ALL pods of namespace %s.", namespace)
		}
		s.line(2, "- %sEndpoints:", side)
		if len(labels) == 0 {
			s.line(3, "- {}")
			return
		}
		s.line(3, "- matchLabels:")
		s.labelLines(5, labels)
	case "service":
		namespace, name, _ := strings.Cut(peer.text, "/")
		s.line(2, "- toServices:")
		s.line(3, "- k8sService: {serviceName: %s, namespace: %s}", quoted(name), quoted(namespace))
	case "fqdn":
		s.line(2, "# Names are learnt from the answers to DNS questions: a rule must let these pass (rules.dns).")
		s.line(2, "- toFQDNs:")
		for _, name := range strings.Split(peer.text, ",") {
			s.line(3, "- matchName: %s", quoted(name))
		}
	case "cidr":
		s.line(2, "- %sCIDR: [%s]", side, quoted(peer.text))
	default:
		s.line(2, "- %sEntities: [%s]", side, quoted(peer.text))
	}
}

// port is an entry of toPorts, or more where a service's port leads to several.
func (s *suggestion) port(at seenAt, what map[seenWhat]*evidence) {
	ports := []uint32{at.port}
	if at.peer.kind == "service" {
		if targets := s.targets; targets != nil && len(targets(at.peer.text, at.protocol, at.port)) > 0 {
			ports = targets(at.peer.text, at.protocol, at.port)
			s.line(3, "# port %d of the service", at.port)
		} else {
			s.line(3, "# This is the service's port, and rules want the pods': put that here if it is another.")
		}
	}
	texts := make([]string, 0, len(ports))
	for _, p := range ports {
		texts = append(texts, fmt.Sprintf("{port: %q, protocol: %s}", fmt.Sprint(p), at.protocol))
	}
	s.line(3, "- ports: [%s]", strings.Join(texts, ", "))
	kinds := map[string][]seenWhat{}
	for w := range what {
		kinds[w.kind] = append(kinds[w.kind], w)
	}
	for _, list := range kinds {
		slices.SortFunc(list, func(a, b seenWhat) int { return cmp.Or(cmp.Compare(a.value, b.value), cmp.Compare(a.name, b.name)) })
	}
	// One entry has rules of one protocol: that which most says.
	switch {
	case len(kinds[seenHTTP]) > 0:
		s.line(4, "rules:")
		s.line(5, "http:")
		s.http(kinds[seenHTTP], what)
	case len(kinds[seenDNS]) > 0:
		s.line(4, "rules:")
		s.line(5, "dns:")
		for _, w := range kinds[seenDNS] {
			s.line(5, "- matchName: %s # %s", quoted(w.name), evidenceText(*what[w]))
		}
	case len(kinds[seenKafka]) > 0:
		s.line(4, "rules:")
		s.line(5, "kafka:")
		s.kafka(kinds[seenKafka], what)
	case len(kinds[seenTLS]) > 0:
		s.line(4, "serverNames:")
		for _, w := range kinds[seenTLS] {
			s.line(4, "- %s # %s", quoted(w.name), evidenceText(*what[w]))
		}
	}
}

// kafka are the rules for the requests to one port. Without a topic a rule is about all of
// them: what names none needs one only where nothing else of its kind was seen.
func (s *suggestion) kafka(requests []seenWhat, what map[seenWhat]*evidence) {
	for _, w := range requests {
		switch {
		case w.value != "":
			s.line(5, "- {apiKey: %s, topic: %s} # %s", quoted(w.name), quoted(w.value), evidenceText(*what[w]))
		case !slices.ContainsFunc(requests, func(other seenWhat) bool { return other.name == w.name && other.value != "" }):
			s.line(5, "- {apiKey: %s} # ANY topic, as none was named: %s", quoted(w.name), evidenceText(*what[w]))
		}
	}
}

// http are the rules for the requests to one port, paths generalised.
func (s *suggestion) http(requests []seenWhat, what map[seenWhat]*evidence) {
	byMethod := map[string][]string{}
	for _, w := range requests {
		byMethod[w.name] = append(byMethod[w.name], w.value)
	}
	for _, method := range slices.Sorted(maps.Keys(byMethod)) {
		patterns := generalise(byMethod[method], s.siblings)
		type from struct {
			evidence
			paths []string
		}
		rules := map[string]*from{}
		for _, path := range byMethod[method] {
			p := patterns[path]
			if rules[p] == nil {
				rules[p] = &from{}
			}
			rules[p].add(*what[seenWhat{seenHTTP, method, path}])
			rules[p].paths = append(rules[p].paths, path)
		}
		for _, p := range slices.Sorted(maps.Keys(rules)) {
			note := evidenceText(rules[p].evidence)
			if paths := rules[p].paths; len(paths) > 1 || p != regexp.QuoteMeta(paths[0]) {
				const most = 3
				note += ", such as " + strings.Join(paths[:min(most, len(paths))], " ")
			}
			s.line(5, "# %s", note)
			s.line(5, "- {method: %s, path: %s}", quoted(regexp.QuoteMeta(method)), quoted(p+`(\?.*)?`))
		}
	}
}

func (s *suggestion) matchLabels(depth int, labels map[string]string) {
	s.line(depth, "matchLabels:")
	s.labelLines(depth+1, labels)
}

func (s *suggestion) labelLines(depth int, labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		s.line(depth, "%s: %s", quoted(key), quoted(labels[key]))
	}
}
