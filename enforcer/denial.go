package enforcer

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/septum-dev/septum/bpf"
	"github.com/septum-dev/septum/policy"
)

// denial is the last thing that was denied for a policy.
type denial struct {
	// at is in nanoseconds since 1970; 0 if there was none.
	at int64
	// what is a line for people: "demo/third -> demo/backend-app:80 GET /data". It is empty
	// where only a counter told of the denial.
	what string
	// rule is the name or place of the rule that decided; empty where none did.
	rule string
}

// The most bytes of a request's parts: they are the client's words.
const (
	maxMethod = 32
	maxPath   = 256
)

// described is how much later than its description a denial may be counted: the BPF
// counters are read once in a while, and their events come when they happen.
const described = 3 * time.Second

// or returns the denial to keep. One without a description only replaces one that it
// cannot be.
func (d denial) or(o denial) denial {
	if o.what == "" && d.what != "" && o.at-d.at <= int64(described) || o.what != "" && o.at < d.at-int64(described) {
		return d
	}
	o.at = max(o.at, d.at)
	return o
}

// denied says what was denied to the policies' pods.
func (c *counts) denied(refs []policy.Ref, d denial) {
	for _, ref := range refs {
		t := c.of(ref)
		t.last = t.last.or(d)
	}
}

func (e *Enforcer) deniedRequest(ev policy.Event) denial {
	return denial{
		at:   ev.Time.UnixNano(),
		what: strings.TrimSpace(e.route(ev.Src, ev.Dst, true) + " " + asked(ev)),
		rule: nameOf(ev.Rule),
	}
}

// asked is what a request asks for: "GET /data", "Produce orders".
func asked(ev policy.Event) string {
	switch {
	case ev.Kafka != nil:
		return strings.TrimSpace(ev.Kafka.Key.String() + " " + printable(ev.Kafka.Topic, maxPath))
	case ev.DNS != nil:
		return "DNS " + printable(ev.DNS.Name, maxPath)
	case ev.HTTP != nil && ev.HTTP.Method != "":
		path, _, _ := strings.Cut(ev.HTTP.Path, "?") // a query may hold secrets
		return printable(ev.HTTP.Method, maxMethod) + " " + printable(path, maxPath)
	case ev.TLS != nil && ev.HTTP == nil && ev.TLS.ServerName != "":
		return "TLS " + printable(ev.TLS.ServerName, maxPath)
	case ev.TLS != nil && ev.HTTP == nil:
		return "TCP without a TLS server name"
	}
	return "HTTP"
}

func (e *Enforcer) deniedPacket(ev bpf.Event) denial {
	protocols := map[policy.Protocol]string{
		policy.ProtocolTCP: "TCP", policy.ProtocolUDP: "UDP", policy.ProtocolSCTP: "SCTP",
		policy.ProtocolICMP: "ICMP", policy.ProtocolICMPv6: "ICMPv6",
	}
	protocol, known := protocols[ev.Protocol]
	if !known {
		protocol = fmt.Sprintf("IP protocol %d", ev.Protocol)
	}
	hasPort := known
	if ev.Protocol == policy.ProtocolICMP || ev.Protocol == policy.ProtocolICMPv6 {
		hasPort = false
		protocol += fmt.Sprintf(" type %d", ev.Dst.Port()>>8)
	}
	return denial{
		at:   e.config.Now().UnixNano(),
		what: e.route(ev.Src, ev.Dst, hasPort) + " " + protocol,
		rule: nameOf(e.force.rules[ev.Rule]),
	}
}

// route says from whom to whom.
func (e *Enforcer) route(src, dst netip.AddrPort, hasPort bool) string {
	to := e.nameOfAddr(dst.Addr())
	if hasPort {
		if to == dst.Addr().String() && dst.Addr().Is6() {
			to = "[" + to + "]"
		}
		to += ":" + strconv.Itoa(int(dst.Port()))
	}
	return e.nameOfAddr(src.Addr()) + " -> " + to
}

// nameOfAddr is the pod, node or service that has the address, or else the address.
func (e *Enforcer) nameOfAddr(addr netip.Addr) string {
	if !addr.IsValid() {
		return "unknown"
	}
	addr = addr.Unmap()
	all := e.force.policy.Addresses
	want := policy.Address{Prefix: netip.PrefixFrom(addr, addr.BitLen())}
	i, found := slices.BinarySearchFunc(all, want, policy.CompareAddresses)
	switch {
	case found && all[i].Pod != "":
		return all[i].Namespace + "/" + all[i].Pod
	case found && all[i].Node != "":
		return "node " + all[i].Node
	case found && all[i].Service != "":
		return "service " + all[i].Service
	}
	return addr.String()
}

// nameOf is what a user calls the rule.
func nameOf(rule policy.RuleID) string {
	if rule.Name != "" {
		return rule.Name
	}
	return rule.Path
}

// printable makes a client's text one short line that no terminal acts upon.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
