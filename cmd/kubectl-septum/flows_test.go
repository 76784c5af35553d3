package main

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// seen are events of every kind: what clients of demo did, a minute apart.
func seen() []policy.Event {
	reads := policy.RuleID{Policy: policy.Ref{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "reads"}, Path: "spec.ingress[0].toPorts[0].rules.http[0]"}
	at := func(minute int, v policy.Verdict, d policy.Direction, src, dst string) policy.Event {
		e := policy.Event{Time: noon.Add(time.Duration(minute) * time.Minute), Verdict: v, Direction: d, Protocol: policy.ProtocolTCP,
			Src: netip.MustParseAddrPort(src), Dst: netip.MustParseAddrPort(dst)}
		if v != policy.Denied {
			e.Rule = reads
		}
		return e
	}
	get := at(1, policy.Forwarded, policy.Ingress, "10.128.0.1:40000", "10.128.0.4:8080")
	get.HTTP = &policy.HTTPEvent{Method: "GET", Host: "backend", Path: "/data", Version: "HTTP/1.1", Code: 200, Latency: 3 * time.Millisecond, TraceID: "0af7651916cd43dd8448eb211c80319c"}
	post := at(2, policy.Denied, policy.Ingress, "10.128.0.1:40001", "10.128.0.4:8080")
	post.HTTP = &policy.HTTPEvent{Method: "POST", Host: "backend", Path: "/data/\x1b[2J", Version: "HTTP/1.1", Code: 403}
	lookup := at(3, policy.Forwarded, policy.Egress, "10.128.0.1:40002", "192.0.2.53:53")
	lookup.Protocol, lookup.DNS = policy.ProtocolUDP, &policy.DNSEvent{Name: "www.example.com", Type: 1, Addrs: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
	outside := at(4, policy.Redirected, policy.Egress, "10.128.0.1:40003", "203.0.113.9:443")
	produce := at(5, policy.Denied, policy.Ingress, "10.128.0.2:40004", "10.128.0.4:9092")
	produce.Kafka = &policy.KafkaEvent{Topic: "orders", Version: 9, Correlation: 7, Error: 29}
	produced := at(6, policy.Forwarded, policy.Ingress, "10.128.0.2:40004", "10.128.0.4:9092")
	produced.Kafka = &policy.KafkaEvent{Topic: "mails", Version: 9, Correlation: 8}
	return []policy.Event{get, post, lookup, outside, produce, produced}
}

// served is a source whose flows are those of the events, and no cluster's.
func served(t *testing.T, events []policy.Event) *source {
	t.Helper()
	r, err := flow.New(flow.Config{Node: "node1", Now: func() time.Time { return noon.Add(time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	pod := func(addr, name string, id policy.Identity) policy.Address {
		return policy.Address{Prefix: netip.MustParsePrefix(addr + "/32"), Identity: id, Namespace: "demo", Pod: name, Workload: name, Node: "node1"}
	}
	r.Know(policy.NodePolicy{
		Addresses: []policy.Address{pod("10.128.0.1", "frontend", 300), pod("10.128.0.2", "third", 301), pod("10.128.0.4", "backend", 302)},
		Identities: []policy.IdentityLabels{
			{Identity: 300, Labels: policy.Labels{"k8s:app": "frontend", policy.LabelNamespace: "demo"}},
			{Identity: 301, Labels: policy.Labels{"k8s:app": "third", policy.LabelNamespace: "demo"}},
			{Identity: 302, Labels: policy.Labels{"k8s:app": "backend", policy.LabelNamespace: "demo"}},
			{Identity: policy.IdentityWorld, Labels: policy.Labels{"reserved:world": ""}},
		},
	})
	return servedFrom(t, r, events)
}

func servedFrom(t *testing.T, r *flow.Recorder, events []policy.Event) *source {
	t.Helper()
	for _, e := range events {
		r.Add(e, []policy.Ref{{Kind: "CiliumNetworkPolicy", Namespace: "demo", Name: "reads"}})
	}
	l := bufconn.Listen(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	src := newSource()
	src.dial = func() (*grpc.ClientConn, func(), error) {
		conn, err := grpc.NewClient("passthrough:///flows", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
		return conn, func() { conn.Close() }, err
	}
	return src
}

func TestFlows(t *testing.T) {
	for name, args := range map[string]string{
		"all":          "flows",
		"namespace":    "flows -n shop",
		"denied":       "flows -n demo --verdict dropped --print-node-name",
		"last":         "flows --last 2",
		"first":        "flows --first 1 --print-policy-names=false",
		"since":        "flows --since 2026-05-01T12:04:30Z --until 2026-05-01T12:05:30Z",
		"pod":          "flows -n demo --to-pod back --http-method GET",
		"status":       "flows --http-status 4+",
		"path":         "flows --http-path ^/data$",
		"dns":          "flows --protocol dns",
		"fqdn":         "flows --fqdn *.example.com",
		"not":          "flows --not --protocol http --not --protocol kafka --not --from-pod demo/third",
		"topic":        "flows --kafka-topic orders",
		"topic-last":   "flows --kafka-topic mails --last 1",
		"trace":        "flows --trace-id 0af7651916cd43dd8448eb211c80319c",
		"workload":     "flows --from-workload third --type policy-verdict",
		"json":         "flows --verdict DROPPED --http-method POST -o json",
		"table":        "flows -o table --to-port 8080",
		"colour":       "flows --color always --to-port 443",
		"wrong-value":  "flows --verdict GONE",
		"wrong-status": "flows --http-status x",
		"wrong-time":   "flows --since noon",
		"wrong-output": "flows -o yaml",
		"wrong-not":    "flows --protocol dns --not",
		"wrong-table":  "flows -o table --follow",
		"wrong-number": "flows --last 1 --all",
		"files":        "flows -f testdata/shop",
	} {
		t.Run(name, func(t *testing.T) {
			got := runWith(served(t, seen()), strings.Fields(args)...)
			if strings.ContainsAny(strings.NewReplacer("\x1b[3", "", "\x1b[0m", "").Replace(got), "\x1b\r") {
				t.Errorf("a control character reaches the terminal: %q", got)
			}
			if name == "json" {
				got = strings.ReplaceAll(got, ": ", ":") // the encoder of protobuf puts spaces where it likes
			}
			golden(t, "flows-"+name, "$ kubectl septum "+args+"\n"+got)
		})
	}
}

// Either end is meant where none is named, and conditions of different kinds must all hold.
func TestFlowFilters(t *testing.T) {
	f := newFlowFilters()
	for _, c := range [][2]string{{"pod", "a"}, {"from-label", "app=x"}, {"verdict", "AUDIT"}, {"not", "true"}, {"port", "53"}, {"from-namespace", "n"}} {
		if err := f.set(c[0], c[1]); err != nil {
			t.Fatal(err)
		}
	}
	white, black, err := f.lists("demo", true)
	if err != nil {
		t.Fatal(err)
	}
	audit := []flowpb.Verdict{flowpb.Verdict_AUDIT}
	want := []*flowpb.FlowFilter{
		{SourcePod: []string{"demo/a", "n/"}, SourceLabel: []string{"app=x"}, Verdict: audit},
		{DestinationPod: []string{"demo/a"}, SourcePod: []string{"n/"}, SourceLabel: []string{"app=x"}, Verdict: audit},
	}
	for i := range want {
		if len(white) != len(want) || white[i].String() != want[i].String() {
			t.Errorf("the filters are %v and should be %v", white, want)
		}
	}
	if len(black) != 2 || black[0].GetSourcePort()[0] != "53" || black[1].GetDestinationPort()[0] != "53" {
		t.Errorf("left out is %v", black)
	}
}
