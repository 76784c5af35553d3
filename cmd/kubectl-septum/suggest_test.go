package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/policy/ingest"
)

// town is what the observed workloads live in: two namespaces, a service, an outside.
const town = "testdata/suggest"

func townObjects(t *testing.T) ingest.Objects {
	t.Helper()
	objects, err := readFiles([]string{town})
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// flowsOf writes the flows of events to a file, as "flows -o json" does.
func flowsOf(t *testing.T, w *world, events []policy.Event) string {
	t.Helper()
	src := servedBy(t, w, events)
	out := runWith(src, "flows", "--all", "-o", "json")
	file := filepath.Join(t.TempDir(), "flows.json")
	if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func servedBy(t *testing.T, w *world, events []policy.Event) *source {
	t.Helper()
	r, err := flow.New(flow.Config{Node: madeUpNode, Now: func() time.Time { return noon.Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	r.Know(w.node(madeUpNode))
	return servedFrom(t, r, events)
}

// drawEvent is one of what the town's pods do, with the request that it was.
func drawEvent(draw *rand.Rand, w *world, minute int) (policy.Event, policy.Request) {
	pick := func(list ...string) string { return list[draw.IntN(len(list))] }
	addr := func(pod string) netip.Addr {
		e, err := w.end(pod, "demo")
		if err != nil {
			panic(err)
		}
		return e.addr
	}
	client, ingress := addr(pick("demo/frontend", "demo/third", "shop/till")), draw.IntN(2) == 0
	server, port := addr("demo/backend"), uint16(8080)
	if !ingress {
		client = addr("demo/frontend")
		if draw.IntN(2) == 0 { // through the service
			server, port = w.service("backend", "demo").Addrs[0], 80
		}
	}
	e := policy.Event{Time: noon.Add(time.Duration(minute) * time.Second), Direction: policy.Egress, Verdict: policy.Forwarded, Protocol: policy.ProtocolTCP}
	if ingress {
		e.Direction = policy.Ingress
		if draw.IntN(5) == 0 {
			client = netip.MustParseAddr(pick("203.0.113.5", "198.51.100.7", "10.64.0.9"))
		}
	}
	req := policy.Request{Protocol: e.Protocol}
	switch draw.IntN(7) {
	case 0, 1, 2:
		path := pick("/", "/data", "/data/", "/a//b", "/x/../y", "/users/1", "/users/77", "/users/77/orders/2026-01-31",
			"/o/0af76519-16cd-43dd-8448-eb211c80319c", "/h/0af7651916cd43dd", "/a.b+c/(d)", "/q?x=1", "/%7Euser", "/t/"+fmt.Sprint("w", draw.IntN(40)))
		method := pick("GET", "GET", "POST", "M-SEARCH")
		e.HTTP = &policy.HTTPEvent{Method: method, Host: "backend", Path: path, Version: "HTTP/1.1", Code: 200}
		req.HTTP = &policy.HTTPRequest{Method: method, Host: "backend", Path: path, Header: map[string][]string{}}
	case 3:
		port = uint16(9000 + draw.IntN(3))
		e.TLS = &policy.TLSEvent{ServerName: pick("a.example", "b.example")}
		req.TLS = &policy.TLSRequest{ServerName: e.TLS.ServerName}
	case 4:
		port = 9092
		k := policy.KafkaRequest{Key: policy.KafkaKey(draw.IntN(4)), Version: 9, Topic: pick("orders", "mails", "")}
		e.Kafka = &policy.KafkaEvent{Key: k.Key, Version: k.Version, Topic: k.Topic}
		req.Kafka = &k
	case 5:
		port, e.Protocol = 53, policy.ProtocolUDP
		name := pick("backend.demo.svc.cluster.local", "www.example.com", "_sip._udp.example.com")
		e.DNS, req.DNS = &policy.DNSEvent{Name: name, Type: 1}, &policy.DNSRequest{Name: name}
		req.Protocol = e.Protocol
	case 6:
		port = uint16(7000 + draw.IntN(3))
		if draw.IntN(2) == 0 {
			req.Protocol, e.Protocol = policy.ProtocolUDP, policy.ProtocolUDP
		}
	}
	if !ingress && port != 80 && !w.isPod(server) || !ingress && draw.IntN(6) == 0 {
		server = netip.MustParseAddr(pick("203.0.113.80", "203.0.113.81"))
	}
	e.Src, e.Dst = netip.AddrPortFrom(client, 40000), netip.AddrPortFrom(server, port)
	req.Direction, req.Endpoint, req.Peer, req.Port = e.Direction, client, server, port
	if ingress {
		req.Endpoint, req.Peer = server, client
	}
	return e, req
}

func (w *world) isPod(addr netip.Addr) bool { return w.at(addr).pod != nil }

// TestSuggestionsAllowWhatWasSeen draws what the pods of a town did, and asks the oracle
// about each request, and about others, under the policy that is suggested.
func TestSuggestionsAllowWhatWasSeen(t *testing.T) {
	draw := rand.New(rand.NewPCG(8, 1))
	refusals := 0
	for range 40 {
		objects := townObjects(t)
		w := newWorld(objects)
		type done struct {
			event policy.Event
			req   policy.Request
		}
		var all []done
		var events []policy.Event
		for i := range 5 + draw.IntN(40) {
			e, req := drawEvent(draw, w, i)
			if draw.IntN(8) == 0 {
				e.Verdict = policy.Denied
				e.DropReason = "policy"
			}
			all, events = append(all, done{e, req}), append(events, e)
		}
		file := flowsOf(t, w, events)
		for _, subject := range []string{"backend", "frontend"} {
			text := run("suggest", "demo/"+subject, "--flows", file, "-f", town)
			if strings.Contains(text, "error: there are no flows") {
				continue
			}
			after := withPolicy(t, objects, text)
			if len(after.problems) > 0 {
				t.Fatalf("the suggestion has problems: %v\n%s", after.problems, text)
			}
			np := after.node(madeUpNode)
			for _, d := range all {
				end, err := after.end("demo/"+subject, "demo")
				if err != nil {
					t.Fatal(err)
				}
				if d.req.Endpoint != end.addr {
					continue
				}
				got := policy.Decide(np, d.req)
				if d.event.Verdict != policy.Denied && !passes(got, d.req) {
					t.Fatalf("%+v (http %+v, tls %+v, dns %+v, kafka %+v) was allowed, and the suggestion says %v, %s:\n%s", d.req, d.req.HTTP, d.req.TLS, d.req.DNS, d.req.Kafka, got.Verdict, got.Reason, text)
				}
				if d.event.Verdict == policy.Denied && got.Verdict == policy.Denied {
					refusals++
				}
			}
		}
	}
	if refusals < 50 {
		t.Errorf("only %d of what was refused is refused again: the suggestions are wide, or the draw shows nothing", refusals)
	}
}

// passes is true for what a proxy lets through, and for connections that it gets to judge.
func passes(d policy.Decision, req policy.Request) bool {
	whole := req.HTTP == nil && req.TLS == nil && req.DNS == nil && req.Kafka == nil
	return d.Verdict == policy.Forwarded || d.Verdict == policy.Redirected && whole
}

func withPolicy(t *testing.T, objects ingest.Objects, text string) *world {
	t.Helper()
	var u unstructured.Unstructured
	if err := yaml.UnmarshalStrict([]byte(text), &u.Object); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	objects.Policies = append(slices.Clone(objects.Policies), u)
	return newWorld(objects)
}

// Names that were learnt open what was seen, and no other address.
func TestSuggestionsByName(t *testing.T) {
	objects := townObjects(t)
	w := newWorld(objects)
	frontend, err := w.end("demo/frontend", "demo")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr("203.0.113.80")
	lookup := policy.Event{Time: noon, Direction: policy.Egress, Verdict: policy.Forwarded, Protocol: policy.ProtocolUDP, Src: netip.AddrPortFrom(frontend.addr, 4000),
		Dst: netip.MustParseAddrPort("192.0.2.53:53"), DNS: &policy.DNSEvent{Name: "www.example.com", Type: 1, Addrs: []netip.Addr{at}}}
	connect := policy.Event{Time: noon, Direction: policy.Egress, Verdict: policy.Audited, Protocol: policy.ProtocolTCP, Src: lookup.Src, Dst: netip.AddrPortFrom(at, 443)}
	text := run("suggest", "demo/frontend", "--flows", flowsOf(t, w, []policy.Event{lookup, connect}))
	golden(t, "suggest-names", text)
	after := withPolicy(t, objects, text)
	np := after.node(madeUpNode)
	i := slices.IndexFunc(np.Endpoints, func(e policy.EndpointPolicy) bool { return e.Key == frontend.pod.Key })
	np = policy.WithLearnt(np, []policy.Learnt{{Addr: at, Names: []string{"www.example.com"}, Tables: []policy.TableID{np.Endpoints[i].Egress}}})
	for peer, want := range map[string]policy.Verdict{"203.0.113.80": policy.Forwarded, "203.0.113.81": policy.Denied} {
		got := policy.Decide(np, policy.Request{Direction: policy.Egress, Endpoint: frontend.addr, Peer: netip.MustParseAddr(peer), Protocol: policy.ProtocolTCP, Port: 443})
		if got.Verdict != want {
			t.Errorf("to %s it says %v, %s", peer, got.Verdict, got.Reason)
		}
	}
}

func TestSuggest(t *testing.T) {
	w := newWorld(townObjects(t))
	draw := rand.New(rand.NewPCG(1, 2))
	var events []policy.Event
	for i := range 60 {
		e, _ := drawEvent(draw, w, i)
		if i%6 == 0 {
			e.Verdict, e.DropReason = policy.Denied, "policy"
		}
		if i%7 == 0 {
			e.Verdict = policy.Audited
		}
		events = append(events, e)
	}
	file := flowsOf(t, w, events)
	for name, args := range map[string]string{
		"backend":  "suggest deployment/backend -n demo --flows FILE -f testdata/suggest",
		"frontend": "suggest demo/frontend --flows FILE",
		"denied":   "suggest demo/till -n shop --flows FILE --include-denied",
		"nobody":   "suggest demo/nobody --flows FILE",
		"wrong":    "suggest a/b/c --flows FILE",
		"siblings": "suggest demo/backend --flows FILE --siblings 0",
		"no-file":  "suggest demo/backend --flows testdata/cases.yaml",
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, "suggest-"+name, "$ kubectl septum "+args+"\n"+run(strings.Fields(strings.ReplaceAll(args, "FILE", file))...))
		})
	}
	// The cluster's flows give what the file gives.
	live := runWith(servedBy(t, w, events), "suggest", "demo/backend")
	if diff := cmp.Diff(run("suggest", "demo/backend", "--flows", file), live); diff != "" {
		t.Errorf("from the cluster (-file +cluster):\n%s", diff)
	}
}

func TestGeneralise(t *testing.T) {
	for name, c := range map[string]struct{ paths, want string }{
		"words":       {"/a /a/b", "/a /a/b"},
		"numbers":     {"/users/1 /users/22/x", "/users/[0-9]+ /users/[0-9]+/x"},
		"a UUID":      {"/o/0af76519-16cd-43dd-8448-EB211c80319c", "/o/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"},
		"a date":      {"/d/2026-05-01", "/d/[0-9]{4}-[0-9]{2}-[0-9]{2}"},
		"a time":      {"/d/2026-05-01T12:00:00Z", "/d/[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+(Z|[+-][0-9:]+)?"},
		"a hash":      {"/h/deadbeef01", "/h/[0-9a-fA-F]{8,}"},
		"no hash":     {"/h/deadbeef /h/feedface", "/h/deadbeef /h/feedface"},
		"a ULID":      {"/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/t/[0-9A-Za-z_-]{20,}"},
		"long words":  {"/settlements-and-payments-of-today", "/settlements-and-payments-of-today"},
		"versions":    {"/v1/x /v2/x", "/v1/x /v2/x"},
		"crowded":     {"/n/a/x /n/b/x /n/c/x /n/d/x", "/n/[^/?]+/x"},
		"not crowded": {"/n/a/x /n/b/x /n/c/x", "/n/a/x /n/b/x /n/c/x"},
		"at the end":  {"/a /b /c /d /a/", "/[^/?]+ /a/"},
		"two places":  {"/a/1x /a/2x /a/3x /a/4x /b/1x /b/2x /b/3x /b/4x /c/1x /c/2x /c/3x /c/4x /d/1x /d/2x /d/3x /d/4x", "/[^/?]+/[^/?]+"},
		"characters":  {"/a.b+(c)", `/a\.b\+\(c\)`},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, p := range generalise(strings.Fields(c.paths), 3) {
				got = append(got, p)
			}
			slices.Sort(got)
			if text := strings.Join(slices.Compact(got), " "); text != c.want {
				t.Errorf("%s becomes\n%s and should become\n%s", c.paths, text, c.want)
			}
		})
	}
}

// What anybody sends must not become a line of YAML of its own.
func TestSuggestionsAreText(t *testing.T) {
	file := `{"flow":{"time":"2026-05-01T12:00:00Z","verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"l4":{"TCP":{"destination_port":80}},` +
		`"source":{"namespace":"demo","pod_name":"x","labels":["k8s:app=a\n  evil: true"]},"destination":{"namespace":"demo","pod_name":"backend","labels":["k8s:app=b: {"]},` +
		`"l7":{"type":"REQUEST","http":{"method":"GET","url":"http://b/a\n- evil"}},"traffic_direction":"INGRESS","is_reply":false}}` +
		`{"flow":{"time":"2026-05-01T12:00:00Z","verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},"l4":{"TCP":{"destination_port":80}},` +
		`"source":{"namespace":"demo","pod_name":"x","labels":["k8s:app=a"]},"destination":{"namespace":"demo","pod_name":"backend","labels":["k8s:app=b: {"]},` +
		`"l7":{"type":"REQUEST","http":{"method":"GET","url":"http://b/ok'\"#"}},"traffic_direction":"INGRESS","is_reply":false}}`
	seen := newObserved("demo", "backend")
	if err := readFlowFile(bytes.NewBufferString(file), gatherInto(seen)); err != nil {
		t.Fatal(err)
	}
	s := suggestion{observed: seen, siblings: defaultSiblings}
	text := s.yaml()
	var any map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &any); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if strings.Contains(text, "\n  evil") || strings.Contains(text, "\n- evil") {
		t.Errorf("a client's words are lines:\n%s", text)
	}
}
