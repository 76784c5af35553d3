package main

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay/text"
)

// maxSeen bounds what a suggestion is made of: flows are what anybody sent.
const maxSeen = 1 << 16

// seenAt is where something was seen: one of the workload's directions, a peer and a port.
type seenAt struct {
	ingress  bool
	peer     flowPeer
	port     uint32
	protocol string
}

// seenWhat is what was seen there: a connection, or a request of a protocol.
type seenWhat struct {
	kind        string // one of the kinds below
	name, value string
}

// The kinds of what is seen, and what name and value are.
const (
	seenConnection = "connection"
	seenHTTP       = "http"  // method, path
	seenDNS        = "dns"   // name
	seenKafka      = "kafka" // API key, topic
	seenTLS        = "tls"   // server name
)

// evidence is how often something was seen.
type evidence struct {
	count, audited, denied int
	first, last            time.Time
}

func (e *evidence) add(o evidence) {
	e.count, e.audited, e.denied = e.count+o.count, e.audited+o.audited, e.denied+o.denied
	if e.first.IsZero() || o.first.Before(e.first) {
		e.first = o.first
	}
	if o.last.After(e.last) {
		e.last = o.last
	}
}

// observed is what was seen of one workload.
type observed struct {
	namespace, workload string
	// includeDenied takes what was refused as if it should not have been.
	includeDenied bool
	// labels are those that all of its pods have; nil until one was seen.
	labels map[string]string
	// judged and told are what the workload's own policies judged, and what only those of the
	// other end did: that is asked where nothing judged the workload's own direction.
	judged, told map[seenAt]map[seenWhat]*evidence
	size         int
	all          evidence
	// refused, unreadable and surplus are flows that were left out.
	refused, unreadable, surplus int
}

func newObserved(namespace, workload string) *observed {
	return &observed{namespace: namespace, workload: workload, judged: map[seenAt]map[seenWhat]*evidence{}, told: map[seenAt]map[seenWhat]*evidence{}}
}

// add takes a flow; those of others and answers say nothing.
func (o *observed) add(f *flowpb.Flow) {
	if f.GetIsReply().GetValue() || f.GetL7().GetType() == flowpb.L7FlowType_RESPONSE {
		return
	}
	if o.isMine(f.GetDestination()) {
		o.addSide(f, true)
	}
	if o.isMine(f.GetSource()) {
		o.addSide(f, false)
	}
}

func (o *observed) isMine(e *flowpb.Endpoint) bool {
	return e.GetNamespace() == o.namespace && (e.GetPodName() == o.workload ||
		slices.ContainsFunc(e.GetWorkloads(), func(w *flowpb.Workload) bool { return w.GetName() == o.workload }))
}

func (o *observed) addSide(f *flowpb.Flow, ingress bool) {
	mine := f.GetSource()
	if ingress {
		mine = f.GetDestination()
	}
	o.meet(mine)
	at := f.GetTime().AsTime()
	e := evidence{count: 1, first: at, last: at}
	switch f.GetVerdict() {
	case flowpb.Verdict_FORWARDED, flowpb.Verdict_REDIRECTED:
	case flowpb.Verdict_AUDIT:
		e.audited = 1
	case flowpb.Verdict_DROPPED:
		e.denied = 1
		if !o.includeDenied {
			o.refused++
			return
		}
	default:
		return
	}
	what, ok := whatOf(f)
	if ingress && what.kind == seenDNS {
		what = seenWhat{kind: seenConnection} // rules on names are about those who ask
	}
	protocol, port := portOf(f)
	if !ok || protocol == "" {
		o.unreadable++
		return
	}
	into := o.told
	if ingress == (f.GetTrafficDirection() == flowpb.TrafficDirection_INGRESS) {
		into = o.judged
	}
	key := seenAt{ingress: ingress, peer: peerOf(f, ingress), port: port, protocol: protocol}
	if into[key][what] == nil {
		if o.size >= maxSeen {
			o.surplus++
			return
		}
		if into[key] == nil {
			into[key] = map[seenWhat]*evidence{}
		}
		into[key][what] = &evidence{}
		o.size++
	}
	into[key][what].add(e)
	o.all.add(e)
}

// meet keeps the labels that all pods of the workload have.
func (o *observed) meet(e *flowpb.Endpoint) {
	have := podLabels(e)
	if o.labels == nil {
		o.labels = have
		return
	}
	for key, value := range o.labels {
		if have[key] != value {
			delete(o.labels, key)
		}
	}
}

// direction is what was seen of one, judged by the workload's own policies if they judged any.
func (o *observed) direction(ingress bool) map[seenAt]map[seenWhat]*evidence {
	for _, from := range []map[seenAt]map[seenWhat]*evidence{o.judged, o.told} {
		out := map[seenAt]map[seenWhat]*evidence{}
		for at, what := range from {
			if at.ingress == ingress {
				out[at] = what
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// topicLetters are what topics' names are written in.
const topicLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// whatOf is false for what no rule could be made of.
func whatOf(f *flowpb.Flow) (seenWhat, bool) {
	readable := func(s ...string) bool {
		return !slices.ContainsFunc(s, func(s string) bool { return strings.ContainsRune(s, '\uFFFD') || text.Clean(s) != s })
	}
	switch record := f.GetL7().GetRecord().(type) {
	case *flowpb.Layer7_Http:
		path, ok := pathOf(record.Http.GetUrl())
		method := record.Http.GetMethod()
		return seenWhat{seenHTTP, method, path}, ok && method != "" && readable(method, path)
	case *flowpb.Layer7_Dns:
		name := strings.ToLower(strings.TrimSuffix(record.Dns.GetQuery(), "."))
		return seenWhat{seenDNS, name, ""}, name != "" && readable(name)
	case *flowpb.Layer7_Kafka:
		k := record.Kafka //nolint:staticcheck // Hubble has no other record for Kafka
		key, topic := strings.ToLower(k.GetApiKey()), k.GetTopic()
		// A topic that Kafka has none of was asked for by somebody who wants no topic.
		return seenWhat{seenKafka, key, topic}, key != "" && key[0] >= 'a' && strings.Trim(topic, topicLetters) == "" && len(topic) <= 249
	case nil:
	default:
		return seenWhat{}, false
	}
	// The server name of a TLS connection is in the summary alone.
	if name, ok := strings.CutPrefix(f.GetSummary(), "TLS "); ok { //nolint:staticcheck // it is nowhere else
		name, _, _ = strings.Cut(name, ",")
		return seenWhat{seenTLS, name, ""}, readable(name)
	}
	return seenWhat{kind: seenConnection}, true
}

// pathOf is the URL's path as rules see it, without the query, which flows do not say.
func pathOf(text string) (string, bool) {
	_, rest, ok := strings.Cut(text, "://")
	slash := strings.IndexByte(rest, '/')
	if !ok || slash < 0 {
		return "", false
	}
	path, _, _ := strings.Cut(rest[slash:], "?")
	if len(path) >= 1000 { // it may have been cut
		return "", false
	}
	if _, err := url.PathUnescape(path); err != nil {
		return "", false
	}
	return policy.NormalizePath(path)
}

// portOf is the protocol and the port, or the type of ICMP; "" for what has none.
func portOf(f *flowpb.Flow) (string, uint32) {
	switch l4 := f.GetL4().GetProtocol().(type) {
	case *flowpb.Layer4_TCP:
		return "TCP", l4.TCP.GetDestinationPort()
	case *flowpb.Layer4_UDP:
		return "UDP", l4.UDP.GetDestinationPort()
	case *flowpb.Layer4_SCTP:
		return "SCTP", l4.SCTP.GetDestinationPort()
	case *flowpb.Layer4_ICMPv4:
		return "IPv4", l4.ICMPv4.GetType()
	case *flowpb.Layer4_ICMPv6:
		return "IPv6", l4.ICMPv6.GetType()
	}
	return "", 0
}

// flowPeer is the other end, in a form that can be compared.
type flowPeer struct {
	kind string // endpoints, entity, service, fqdn or cidr
	text string // labels by key, a name, or a CIDR
}

// peerOf is the other end, by what tells it from others.
func peerOf(f *flowpb.Flow, ingress bool) flowPeer {
	e, svc, names, addr := f.GetDestination(), f.GetDestinationService(), f.GetDestinationNames(), f.GetIP().GetDestination()
	if ingress {
		e, svc, names, addr = f.GetSource(), nil, nil, f.GetIP().GetSource()
	}
	for _, l := range e.GetLabels() {
		name, ok := strings.CutPrefix(l, "reserved:")
		if ok && name != "world" && name != "unknown" {
			return flowPeer{"entity", strings.TrimSuffix(name, "=")}
		}
	}
	if e.GetPodName() != "" {
		labels := identifying(podLabels(e))
		if labels == nil {
			labels = map[string]string{}
		}
		labels[namespaceLabel] = e.GetNamespace()
		return flowPeer{"endpoints", labelText(labels)}
	}
	if svc.GetName() != "" {
		return flowPeer{"service", svc.GetNamespace() + "/" + svc.GetName()}
	}
	if ingress {
		return flowPeer{"entity", "world"}
	}
	if len(names) > 0 {
		sorted := slices.Clone(names)
		slices.Sort(sorted)
		return flowPeer{"fqdn", strings.Join(sorted, ",")}
	}
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return flowPeer{"entity", "world"}
	}
	return flowPeer{"cidr", netip.PrefixFrom(a, a.BitLen()).String()}
}
