package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/septum-dev/septum/policy"
)

// question is one request in words.
type question struct {
	from, method, to, namespace string
	headers                     map[string][]string
}

// step is what one end of a connection says.
type step struct {
	Direction string `json:"direction"`
	// Pod is whose policies were asked.
	Pod     string   `json:"pod"`
	Verdict string   `json:"verdict"`
	Reason  string   `json:"reason"`
	Rule    string   `json:"rule,omitempty"`
	Rules   []answer `json:"rules,omitempty"`
}

// answer is what one rule says.
type answer struct {
	Rule  string `json:"rule"`
	Holds bool   `json:"holds"`
	Why   string `json:"why,omitempty"`
}

// result is the answer to a question: the ways to each backend of a service, or the one way.
type result struct {
	Verdict string `json:"verdict"`
	Ways    []way  `json:"ways"`
}

// way is a connection to one server.
type way struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Verdict string `json:"verdict"`
	Steps   []step `json:"steps"`
}

// target is where a question's URL leads.
type target struct {
	protocol policy.Protocol
	port     uint16
	http     *policy.HTTPRequest
	tls      *policy.TLSRequest
	// host is the URL's, without its port.
	host string
}

// parseTarget reads a URL of http, https, grpc, tcp, udp or sctp.
func parseTarget(q question) (target, error) {
	u, err := url.Parse(q.to)
	if err != nil {
		return target{}, fmt.Errorf("%q is no URL: %w", q.to, err)
	}
	t := target{protocol: policy.ProtocolTCP, host: u.Hostname()}
	defaults := map[string]uint16{"http": 80, "https": 443, "grpc": 80, "tcp": 0, "udp": 0, "sctp": 0}
	port, ok := defaults[u.Scheme]
	if !ok || t.host == "" {
		return target{}, fmt.Errorf("%q must be http://host/path, https://host, grpc://host/package.Service/Method, tcp://host:port, udp://host:port or sctp://host:port", q.to)
	}
	if u.Port() != "" {
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return target{}, fmt.Errorf("port %q of %q is not between 1 and 65535", u.Port(), q.to)
		}
		port = uint16(n)
	}
	if port == 0 {
		return target{}, fmt.Errorf("%q needs a port", q.to)
	}
	t.port = port
	switch u.Scheme {
	case "udp":
		t.protocol = policy.ProtocolUDP
	case "sctp":
		t.protocol = policy.ProtocolSCTP
	case "https":
		t.tls = &policy.TLSRequest{ServerName: t.host}
	case "http", "grpc":
		t.http = &policy.HTTPRequest{Method: strings.ToUpper(q.method), Path: u.RequestURI(), Host: u.Host, Header: map[string][]string{}}
		if u.Scheme == "grpc" {
			t.http.Method = "POST"
		}
		for name, values := range q.headers {
			t.http.Header[strings.ToLower(name)] = values
		}
	}
	return t, nil
}

// judge asks both ends, for each backend where the target is a service.
func (w *world) judge(q question) (result, error) {
	client, err := w.end(q.from, q.namespace)
	if err != nil {
		return result{}, err
	}
	t, err := parseTarget(q)
	if err != nil {
		return result{}, err
	}
	if svc := w.service(t.host, namespaceOf(client, q.namespace)); svc != nil {
		return w.throughService(client, svc, t)
	}
	server, err := w.end(t.host, namespaceOf(client, q.namespace))
	if err != nil {
		return result{}, fmt.Errorf("%q is neither a service nor a pod nor an address: %w", t.host, err)
	}
	only := w.way(client, server, server.addr, t.port, t)
	return result{Verdict: only.Verdict, Ways: []way{only}}, nil
}

func namespaceOf(e end, otherwise string) string {
	if e.pod == nil {
		return otherwise
	}
	namespace, _, _ := strings.Cut(e.pod.Key, "/")
	return namespace
}

// throughService is allowed if every ready backend is.
func (w *world) throughService(client end, svc *policy.Service, t target) (result, error) {
	for _, p := range svc.Ports {
		if p.Port != t.port || p.Protocol != t.protocol {
			continue
		}
		var out result
		for _, b := range p.Backends {
			server := w.at(b.Addr())
			// The client's end sees the service's address, if it has one, the server's its own.
			virtual, port := b.Addr(), b.Port()
			if !svc.Headless && len(svc.Addrs) > 0 {
				virtual, port = svc.Addrs[0], t.port
			}
			inner := t
			inner.port = b.Port()
			one := w.way(client, server, virtual, port, inner)
			one.To = fmt.Sprintf("service %s:%d → %s", svc.Key, p.Port, one.To)
			out.Ways = append(out.Ways, one)
			out.Verdict = worse(out.Verdict, one.Verdict)
		}
		if len(out.Ways) == 0 {
			return result{}, fmt.Errorf("service %q has no ready backend for port %d", svc.Key, t.port)
		}
		return out, nil
	}
	return result{}, fmt.Errorf("service %q has no port %d of that protocol", svc.Key, t.port)
}

// way asks the client's egress and the server's ingress.
func (w *world) way(client, server end, virtual netip.Addr, port uint16, t target) way {
	out := way{From: client.name, To: netip.AddrPortFrom(server.addr, t.port).String(), Verdict: allowed}
	if server.pod != nil {
		out.To = server.name + " " + out.To
	}
	ask := func(pod *policy.Endpoint, req policy.Request) {
		if pod == nil || pod.HostNetwork {
			return
		}
		req.Protocol, req.HTTP, req.TLS = t.protocol, t.http, t.tls
		s := w.step(pod, req)
		out.Steps = append(out.Steps, s)
		out.Verdict = worse(out.Verdict, s.Verdict)
	}
	ask(client.pod, policy.Request{Direction: policy.Egress, Endpoint: client.addr, Peer: virtual, Port: port})
	ask(server.pod, policy.Request{Direction: policy.Ingress, Endpoint: server.addr, Peer: client.addr, Port: t.port})
	return out
}

// The verdicts in words.
const (
	allowed = "allowed"
	audited = "audited"
	denied  = "denied"
)

// errDenied makes the command's exit status 1, as "kubectl auth can-i" does it.
var errDenied = errors.New("denied") //nolint:gochecknoglobals // a constant error

func worse(a, b string) string {
	for _, v := range []string{denied, audited} {
		if a == v || b == v {
			return v
		}
	}
	return allowed
}

func (w *world) step(pod *policy.Endpoint, req policy.Request) step {
	np := w.node(pod.Node)
	req.HTTP = withTokens(np, req.HTTP, time.Now())
	d := policy.Decide(np, req)
	if d.Verdict == policy.Denied && req.TLS != nil {
		// HTTP rules without TLS rules: nothing inside of TLS can be read.
		d.Reason += " (HTTPS)"
	}
	if d.Verdict == policy.Redirected {
		d = policy.Decision{Verdict: policy.Denied, Rule: d.Rule, Reason: "its rules are about a protocol that this is not"}
	}
	out := step{Direction: "ingress", Pod: pod.Key, Verdict: verdictName(d.Verdict), Reason: d.Reason, Rule: ruleName(d.Rule)}
	if req.Direction == policy.Egress {
		out.Direction = "egress"
	}
	for _, a := range policy.Explain(np, req) {
		out.Rules = append(out.Rules, answer{Rule: ruleName(a.Rule), Holds: a.Holds, Why: a.Why})
	}
	return out
}

func verdictName(v policy.Verdict) string {
	switch v {
	case policy.Forwarded, policy.Redirected:
		return allowed
	case policy.Audited:
		return audited
	case policy.Denied:
	}
	return denied
}

// ruleName is a rule in words; "" for none.
func ruleName(r policy.RuleID) string {
	if r == (policy.RuleID{}) {
		return ""
	}
	name := refName(r.Policy) + " " + r.Path
	if r.Name != "" {
		name += fmt.Sprintf(" (%s)", r.Name)
	}
	return name
}

func refName(r policy.Ref) string {
	if r.Namespace == "" {
		return r.Kind + " " + r.Name
	}
	return r.Kind + " " + r.Namespace + "/" + r.Name
}
