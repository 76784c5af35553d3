package flow

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay/text"
)

var (
	noon  = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	allow = policy.Ref{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "allow-get-products"}
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// known is a node with a frontend, a backend and a CIDR.
func known() policy.NodePolicy {
	address := func(prefix string, id policy.Identity, pod string) policy.Address {
		a := policy.Address{Prefix: netip.MustParsePrefix(prefix), Identity: id}
		if pod != "" {
			a.Namespace, a.Pod, a.Workload, a.Node = "demo", pod+"-5f", pod, "node1"
		}
		return a
	}
	labels := func(id policy.Identity, app string) policy.IdentityLabels {
		return policy.IdentityLabels{Identity: id, Labels: policy.Labels{
			"k8s:app": app, policy.LabelNamespace: "demo", policy.LabelCluster: "one",
		}}
	}
	return policy.NodePolicy{
		Addresses: []policy.Address{
			address("10.0.0.1/32", 300, "frontend"), address("10.0.0.2/32", 301, "backend"),
			address("192.0.2.0/24", policy.FirstCIDRIdentity+1, ""), address("192.0.2.128/25", policy.FirstCIDRIdentity+2, ""),
		},
		Identities: []policy.IdentityLabels{
			labels(300, "frontend"), labels(301, "backend"),
			{Identity: policy.IdentityWorld, Labels: policy.Labels{"reserved:world": ""}},
		},
	}
}

func recorder(t *testing.T, c Config) *Recorder {
	t.Helper()
	c.Node, c.Now = "node1", func() time.Time { return noon.Add(time.Minute) }
	r, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Know(known())
	return r
}

func (r *Recorder) all() []*flowpb.Flow {
	var out []*flowpb.Flow
	r.ring.each(func(f *flowpb.Flow) { out = append(out, f) })
	return out
}

// compact is the line that a reader without the Hubble CLI sees.
func compact(t *testing.T, f *flowpb.Flow) string {
	t.Helper()
	var out strings.Builder
	p, err := text.New(text.Config{Out: &out, Policies: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Print(&observerpb.GetFlowsResponse{ResponseTypes: &observerpb.GetFlowsResponse_Flow{Flow: f}}); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// request is one of the frontend to the backend.
func request(v policy.Verdict, method, path string, code int) policy.Event {
	e := policy.Event{
		Time: noon, Node: "node1", Source: policy.SourceEnvoy, Verdict: v, Protocol: policy.ProtocolTCP,
		Src: addrPort("10.0.0.1:40000"), Dst: addrPort("10.0.0.2:80"),
		HTTP: &policy.HTTPEvent{Method: method, Host: "backend-app", Path: path, Version: "HTTP/1.1", Code: code, Latency: 12 * time.Millisecond},
	}
	if v == policy.Forwarded {
		e.Rule = policy.RuleID{Policy: allow, Path: "spec.ingress[0].toPorts[0].rules.http[0]"}
	}
	return e
}

// packet is a connection that the data path judged.
func packet(v policy.Verdict, reason, src string) policy.Event {
	return policy.Event{
		Time: noon, Node: "node1", Verdict: v, DropReason: reason, Protocol: policy.ProtocolTCP,
		Src: addrPort(src), Dst: addrPort("10.0.0.2:80"),
	}
}

func TestEventsBecomeFlows(t *testing.T) {
	forwardedByRule := packet(policy.Forwarded, "", "10.0.0.1:40000")
	forwardedByRule.Rule = policy.RuleID{Policy: allow, Path: "spec.ingress[0]"}
	egress := packet(policy.Denied, "policy", "10.0.0.1:40000")
	egress.Direction, egress.Dst, egress.DstID = policy.Egress, addrPort("192.0.2.200:443"), policy.FirstCIDRIdentity+2
	ping := packet(policy.Denied, "policy", "10.0.0.1:0")
	ping.Protocol, ping.Dst = policy.ProtocolICMP, netip.AddrPortFrom(ping.Dst.Addr(), 8<<8)
	unjudged := packet(policy.Forwarded, "no-listener", "10.0.0.1:40000")
	unjudged.Rule = forwardedByRule.Rule
	unanswered := request(policy.Forwarded, "GET", "/data", 0)
	by := "DENIED BY allow-get-products (CiliumNetworkPolicy)"
	front, back := "demo/frontend-5f:40000 (ID:300)", "demo/backend-5f:80 (ID:301)"
	for name, c := range map[string]struct {
		event policy.Event
		want  []string
	}{
		"a request that goes on": {request(policy.Forwarded, "GET", "/data", 200), []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " http-request FORWARDED (HTTP/1.1 GET http://backend-app/data)",
			"Mar  4 12:00:00.012: " + front + " <- " + back + " http-response FORWARDED (HTTP/1.1 200 12ms (GET http://backend-app/data))",
		}},
		"one without an answer": {unanswered, []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " http-request FORWARDED (HTTP/1.1 GET http://backend-app/data)",
		}},
		"a connection that goes on unjudged": {unjudged, []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " policy-verdict:L3-L4 INGRESS ALLOWED BY allow-get-products (CiliumNetworkPolicy) (TCP, not judged at layer 7: no-listener)",
		}},
		"a request that is refused": {request(policy.Denied, "POST", "/data", 403), []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " policy-verdict:none INGRESS " + by + " (TCP)",
			"Mar  4 12:00:00.000: " + front + " -> " + back + " http-request DROPPED (HTTP/1.1 POST http://backend-app/data)",
		}},
		"a request that audit lets through": {request(policy.Audited, "POST", "/data", 200), []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " policy-verdict:none INGRESS AUDITED BY allow-get-products (CiliumNetworkPolicy) (TCP)",
			"Mar  4 12:00:00.000: " + front + " -> " + back + " http-request AUDIT (HTTP/1.1 POST http://backend-app/data)",
			"Mar  4 12:00:00.012: " + front + " <- " + back + " http-response FORWARDED (HTTP/1.1 200 12ms (POST http://backend-app/data))",
		}},
		"a connection that is allowed": {forwardedByRule, []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " policy-verdict:L3-L4 INGRESS ALLOWED BY allow-get-products (CiliumNetworkPolicy) (TCP)",
		}},
		"a connection that is denied": {packet(policy.Denied, "policy", "203.0.113.9:5555"), []string{
			"Mar  4 12:00:00.000: 203.0.113.9:5555 (world) -> " + back + " policy-verdict:none INGRESS " + by + " (TCP)",
			"Mar  4 12:00:00.000: 203.0.113.9:5555 (world) -> " + back + " Policy denied DROPPED (TCP)",
		}},
		"a packet that no policy dropped": {packet(policy.Denied, "spoofed", "10.0.0.1:40000"), []string{
			"Mar  4 12:00:00.000: " + front + " -> " + back + " Invalid source ip DROPPED (TCP)",
		}},
		"egress to the longest CIDR": {egress, []string{
			"Mar  4 12:00:00.000: " + front + " -> 192.0.2.200:443 (ID:1073741826) policy-verdict:none EGRESS " + by + " (TCP)",
			"Mar  4 12:00:00.000: " + front + " -> 192.0.2.200:443 (ID:1073741826) Policy denied DROPPED (TCP)",
		}},
		"a ping": {ping, []string{
			"Mar  4 12:00:00.000: demo/frontend-5f (ID:300) -> demo/backend-5f (ID:301) policy-verdict:none INGRESS " + by + " (ICMPv4)",
			"Mar  4 12:00:00.000: demo/frontend-5f (ID:300) -> demo/backend-5f (ID:301) Policy denied DROPPED (ICMPv4)",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			r := recorder(t, Config{})
			r.Add(c.event, []policy.Ref{allow})
			var got []string
			for _, f := range r.all() {
				got = append(got, compact(t, f))
			}
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("flows are\n%s\nand should be\n%s", a, b)
			}
		})
	}
}

func TestWhatTheLinesDoNotShow(t *testing.T) {
	r := recorder(t, Config{})
	r.Add(request(policy.Denied, "POST", "/data", 403), []policy.Ref{allow})
	r.Add(request(policy.Forwarded, "GET", "/data", 200), []policy.Ref{{Kind: "L7NetworkPolicy", Name: "not-this"}})
	broken := packet(policy.Denied, "no-listener", "10.0.0.1:40000")
	broken.Rule = policy.RuleID{Policy: allow, Path: "spec.ingress[0]"}
	r.Add(broken, nil)
	flows := r.all()
	denied, passed, answer := flows[1], flows[2], flows[3]
	if by := flows[4].GetIngressDeniedBy(); len(by) != 0 {
		t.Errorf("what found no listener was denied by %v", by)
	}
	if code := denied.GetL7().GetHttp().GetCode(); code != 403 || denied.GetDropReasonDesc() != flowpb.DropReason_POLICY_DENIED {
		t.Errorf("the refused request has status %d and drop reason %s", code, denied.GetDropReasonDesc())
	}
	if by := passed.GetIngressAllowedBy(); len(by) != 1 || by[0].GetName() != allow.Name || by[0].GetNamespace() != "demo" {
		t.Errorf("the request that went on was allowed by %v", by)
	}
	if s := answer.GetSource(); s.GetPodName() != "backend-5f" || s.GetWorkloads()[0].GetName() != "backend" || s.GetClusterName() != "one" {
		t.Errorf("the answer comes from %v", s)
	}
	if l := answer.GetSource().GetLabels(); len(l) != 3 || l[0] != "k8s:app=backend" {
		t.Errorf("the backend's labels are %v", l)
	}
	if ns := answer.GetL7().GetLatencyNs(); ns != 12_000_000 || !answer.GetIsReply().GetValue() || answer.GetL7().GetHttp().GetCode() != 200 {
		t.Errorf("the answer is %v", answer)
	}
}

func TestTextIsHarmless(t *testing.T) {
	for name, c := range map[string]struct {
		host, path string
		queries    bool
		want       string
	}{
		"query":            {"shop", "/pay?card=4111", false, "http://shop/pay"},
		"query, wanted":    {"shop", "/pay?card=4111", true, "http://shop/pay?card=4111"},
		"fragment":         {"shop", "/pay#secret", true, "http://shop/pay"},
		"user in the host": {"user:password@shop", "/", false, "http://shop/"},
		"escape sequence":  {"shop", "/\x1b[2J\r\n", false, "http://shop/\uFFFD[2J\uFFFD\uFFFD"},
		"C1 control":       {"shop", "/\u009b31m", false, "http://shop/\uFFFD31m"},
		"direction marks":  {"shop", "/\u202egpj", false, "http://shop/\uFFFDgpj"},
		"not UTF-8":        {"shop", "/\xff", false, "http://shop/\uFFFD"},
		"other scripts":    {"shop", "/größe", false, "http://shop/größe"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := urlOf(&policy.HTTPEvent{Host: c.host, Path: c.path}, c.queries); got != c.want {
				t.Errorf("it becomes %q and should be %q", got, c.want)
			}
		})
	}
}

func TestEveryTextOfAnEventIsCleaned(t *testing.T) {
	const bad = "x\x1b]0;\xffy"
	r := recorder(t, Config{Queries: true})
	np := known()
	np.Addresses[0].Pod, np.Addresses[0].Namespace, np.Addresses[0].Workload = bad, bad, bad
	np.Identities[0].Labels = policy.Labels{"k8s:" + bad: bad, policy.LabelCluster: bad}
	r.Know(np)
	e := request(policy.Denied, bad, bad, 403)
	e.HTTP.Host, e.HTTP.Version, e.Node = bad, bad, bad
	r.Add(e, []policy.Ref{{Kind: bad, Namespace: bad, Name: bad}})
	e.Verdict, e.Rule = policy.Forwarded, policy.RuleID{Policy: policy.Ref{Name: bad}, Path: bad}
	r.Add(e, nil)
	for _, f := range r.all() {
		if text := f.String(); strings.Contains(text, `\x1b`) || strings.Contains(text, `\xff`) || strings.Contains(text, `\033`) || strings.Contains(text, `\377`) {
			t.Errorf("something is left in %s", text)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, c := range map[string]Config{"no node": {}, "negative room": {Node: "n", Room: -1}, "too much room": {Node: "n", Room: maxRoom + 1}} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
