//go:build e2e

package e2e

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/septum-dev/septum/enforcer/proxy/kafka/kafkatest"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/test/conformance"
)

// truth is one request of a case in the world, and what must come of it: "200", "403", an
// answer's code, or "none".
type truth struct {
	line, from string
	args       []string
	want       string
}

// truth is false for what pods cannot do, or what this test has no client for.
func (c cast) truth(in conformance.Case, check conformance.Check) (truth, bool) {
	client, server := check.Request.Peer, check.Request.Endpoint
	if check.Request.Direction == policy.Egress {
		client, server = server, client
	}
	from, to := c.pod[client], netip.Addr{}
	if pod := c.pod[server]; pod != "" && pod != from && slices.Contains(served(), check.Request.Port) {
		to = c.pods[pod]
	} else if isWorld(server) {
		to = server
	}
	if from == "" || !to.IsValid() || check.As != "" || check.Status != 0 || check.Want == policy.Redirected {
		return truth{}, false
	}
	call, ok := callOf(check.Request, netip.AddrPortFrom(to, check.Request.Port))
	if !ok {
		return truth{}, false
	}
	// Both ends judge: what the other says is the oracle's. The client's is the first.
	want := map[policy.Direction]string{}
	for direction, end := range map[policy.Direction]netip.Addr{policy.Egress: client, policy.Ingress: server} {
		r := call.request
		r.Direction, r.Endpoint, r.Peer = direction, client, server
		if direction == policy.Ingress {
			r.Endpoint, r.Peer = server, client
		}
		want[direction] = call.want(in.Node(nodeOf(in, end)), r)
	}
	if want[check.Request.Direction] == call.answer == (check.Want == policy.Denied) {
		return truth{}, false // not a request of this kind any more
	}
	out := truth{line: check.Line, from: from, args: call.args, want: want[policy.Egress]}
	if out.want == call.answer {
		out.want = want[policy.Ingress]
	}
	return out, true
}

// call is a request as the demo's program makes it.
type call struct {
	request policy.Request
	args    []string
	// answer begins what is printed when it is answered, and refusal when a rule of its own protocol refuses it.
	answer, refusal string
}

// callOf is false where the program cannot send it: names that no client sends.
func callOf(r policy.Request, to netip.AddrPort) (call, bool) {
	switch {
	case r.DNS != nil:
		args := []string{"lookup", "-timeout", "2s", "-server", to.String()}
		if r.Protocol == policy.ProtocolTCP {
			args = append(args, "-tcp")
		}
		return call{r, append(args, r.DNS.Name), "NOERROR", "REFUSED"}, true
	case r.Protocol != policy.ProtocolTCP:
		return call{}, false
	case r.Kafka != nil:
		frame := hex.EncodeToString(kafkatest.Request(*r.Kafka, versionOf(*r.Kafka)))
		return call{r, []string{"kafka", "-timeout", "2s", to.String(), frame}, "answered", "refused"}, true
	case r.TLS != nil:
		name := r.TLS.ServerName
		if name == "" {
			name = to.Addr().String() // clients name no addresses
		} else if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "..") || r.HTTP != nil {
			return call{}, false
		}
		return call{r, []string{"get", "-timeout", "2s", "-connect", to.String(), "https://" + name + "/"}, "200", "none"}, true
	}
	if r.HTTP == nil {
		r.HTTP = &policy.HTTPRequest{Method: "GET", Path: "/", Host: "server", Header: map[string][]string{}}
	}
	args := []string{"get", "-timeout", "2s", "-X", r.HTTP.Method, "-H", "Host: " + r.HTTP.Host}
	for name, values := range r.HTTP.Header {
		for _, v := range values {
			args = append(args, "-H", name+": "+v)
		}
	}
	return call{r, append(args, fmt.Sprintf("http://%s%s", to, r.HTTP.Path)), "200", "403"}, true
}

// want is what one end does to the call.
func (c call) want(np policy.NodePolicy, r policy.Request) string {
	packet := r
	packet.HTTP, packet.DNS, packet.TLS, packet.Kafka = nil, nil, nil, nil
	first := policy.Decide(np, packet)
	if first.Verdict == policy.Denied {
		return "none"
	}
	if first.Verdict != policy.Redirected || policy.Decide(np, r).Verdict != policy.Denied {
		return c.answer
	}
	// What is not of the class's protocol gets no answer of it.
	i := slices.IndexFunc(np.Classes, func(class policy.Class) bool { return class.ID == first.Class })
	kind := np.Classes[i].Kind
	if r.HTTP != nil && kind != policy.KindHTTP || r.DNS != nil && kind != policy.KindDNS || r.Kafka != nil && kind != policy.KindKafka {
		return "none"
	}
	return c.refusal
}

// versionOf is the request's version; without one, one that the proxy knows and that has topics by name.
func versionOf(r policy.KafkaRequest) int16 {
	if r.Version != 0 {
		return r.Version
	}
	if latest, ok := map[policy.KafkaKey]int16{policy.KafkaProduce: 12, policy.KafkaFetch: 12, policy.KafkaSASLHandshake: 1, 24: 3}[r.Key]; ok {
		return latest
	}
	return kmsg.RequestForKey(int16(r.Key)).MaxVersion()
}

func nodeOf(c conformance.Case, pod netip.Addr) string {
	for _, e := range c.Snapshot.Endpoints {
		if slices.Contains(e.Addrs, pod) {
			return e.Node
		}
	}
	return ""
}

func (w world) ask(r truth) string {
	namespace, name, _ := strings.Cut(r.from, "/")
	got := w.run(namespace, name, r.args...)
	// The answer to HEAD has no body.
	if r.want == "none" && strings.HasPrefix(got, "no answer") || r.want == "403" && (got == "403 Access denied" || strings.TrimSpace(got) == "403" && slices.Contains(r.args, "HEAD")) ||
		r.want != "none" && r.want != "403" && strings.HasPrefix(got, r.want) {
		return ""
	}
	return fmt.Sprintf("%s: want %s, got %q", r.line, r.want, got)
}

// run runs the demo's program in a pod, and returns the first line it prints.
func (w world) run(namespace, pod string, args ...string) string {
	out, _ := w.tool("", append([]string{"kubectl", "-n", namespace, "exec", pod, "--", "/septum-demo"}, args...)...)
	line, _, _ := strings.Cut(out, "\n")
	return line
}

// isWorld is true for the addresses that the cases have outside of their clusters: those that
// are for documentation.
func isWorld(addr netip.Addr) bool {
	for _, prefix := range []string{"192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"} {
		if netip.MustParsePrefix(prefix).Contains(addr) {
			return true
		}
	}
	return false
}

// serveOutside has the very addresses of the cases answer, outside of the cluster.
func (c cluster) serveOutside(t *testing.T, all []conformance.Case) {
	t.Helper()
	ports := map[string]bool{}
	addrs := map[netip.Addr]bool{}
	for _, in := range all {
		if !slices.Contains(shown(), in.Name) {
			continue
		}
		for _, check := range in.Requests {
			if addr := check.Request.Peer; isWorld(addr) {
				addrs[addr] = true
				ports[fmt.Sprint(":", check.Request.Port)] = true
			}
		}
	}
	for addr := range addrs {
		if out, err := inControlPlane("ip", "addr", "add", addr.String()+"/32", "dev", "lo").CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", addr, err, out)
		}
		t.Cleanup(func() {
			if out, err := inControlPlane("ip", "addr", "del", addr.String()+"/32", "dev", "lo").CombinedOutput(); err != nil {
				t.Errorf("remove %s: %v: %s", addr, err, out)
			}
		})
	}
	var listen []string
	for port := range ports {
		if port != ":80" && port != ":443" { // the demo's world listens there
			listen = append(listen, port)
		}
	}
	cmd := inControlPlane(filepath.Join(c.root, "build/bin/septum-demo"), "serve", "-listen", strings.Join(listen, ","))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

// tell has the case's resolver say what its pods are told, and the pods ask it.
func (c cast) tell(in conformance.Case) (wrong []string) {
	var told []string
	for _, l := range in.Learnt {
		if !slices.Contains(told, l.Pod) {
			told = append(told, l.Pod)
		}
	}
	for _, pod := range told {
		records, addrs := []string{"get", "-X", "POST"}, map[string][]string{}
		for _, l := range in.Learnt {
			addr := l.Addr
			if real := c.pods[c.pod[addr]]; real.IsValid() {
				addr = real
			}
			if l.Pod == pod {
				records = append(records, "-H", "Record: "+l.Name+"="+addr.String())
				addrs[l.Name] = append(addrs[l.Name], addr.String())
			}
		}
		resolver, client := c.played(in, "kube-system/dns"), c.played(in, pod)
		namespace, name, _ := strings.Cut(resolver, "/")
		if got := c.run(namespace, name, append(records, "http://127.0.0.1/records")...); !strings.HasPrefix(got, "200 ") {
			wrong = append(wrong, "the resolver says "+got)
		}
		for asked, want := range addrs {
			complaint := c.ask(truth{line: "lookup of " + asked + " by " + pod, from: client, want: "NOERROR " + strings.Join(want, " "),
				args: []string{"lookup", "-server", netip.AddrPortFrom(c.pods[resolver], 53).String(), asked}})
			if complaint != "" {
				wrong = append(wrong, complaint)
			}
		}
	}
	return wrong
}

// played is the pod of the world that plays a pod of the case.
func (c cast) played(in conformance.Case, key string) string {
	i := slices.IndexFunc(in.Snapshot.Endpoints, func(e policy.Endpoint) bool { return e.Key == key })
	return c.pod[in.Snapshot.Endpoints[i].Addrs[0]]
}
