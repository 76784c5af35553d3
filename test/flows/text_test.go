package flows

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	observerpb "github.com/cilium/cilium/api/v1/observer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay/text"
)

// others are events of every kind that server has none of.
func others() []policy.Event {
	base := func(v policy.Verdict, reason string, p policy.Protocol, dst string) policy.Event {
		return policy.Event{Time: time.Now(), Verdict: v, DropReason: reason, Protocol: p, Src: netip.MustParseAddrPort("10.0.0.1:2000"), Dst: netip.MustParseAddrPort(dst)}
	}
	out := []policy.Event{base(policy.Forwarded, "no-listener", policy.ProtocolTCP, "10.0.0.2:80"), base(policy.Redirected, "", policy.ProtocolTCP, "10.0.0.2:80")}
	for _, reason := range []string{"policy", "spoofed", "malformed", "ethertype", "unsupported", "fragment", "midstream", "no-proxy", "client-limit", "no-endpoint"} {
		out = append(out, base(policy.Denied, reason, policy.ProtocolUDP, "10.0.0.2:53"))
	}
	question := base(policy.Forwarded, "", policy.ProtocolUDP, "192.0.2.53:53")
	question.Direction = policy.Egress
	question.DNS = &policy.DNSEvent{Name: "www.example.com", Type: 1, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, Latency: time.Millisecond}
	refused := question
	refused.Verdict, refused.DNS = policy.Denied, &policy.DNSEvent{Name: "evil\x1b[2J.example", Type: 28, Code: 5}
	produce := base(policy.Denied, "", policy.ProtocolTCP, "10.0.0.2:9092")
	produce.Kafka = &policy.KafkaEvent{Topic: "orders", Version: 9, Correlation: 7, Error: 29}
	produced := produce
	produced.Verdict, produced.Kafka = policy.Forwarded, &policy.KafkaEvent{Topic: "orders", Version: 9, Correlation: 8}
	named := base(policy.Denied, "", policy.ProtocolTCP, "203.0.113.5:443")
	named.Direction, named.TLS = policy.Egress, &policy.TLSEvent{ServerName: "www.example.com"}
	audited := request("10.0.0.1:1001", policy.Audited, "PUT", "/data\x1b]0;x", 201, 0)
	return append(out, question, refused, produce, produced, named, audited, base(policy.Denied, "policy", policy.ProtocolICMP, "10.0.0.2:2048"))
}

// TestTextIsTheCLIs has flows of every kind printed by Septum and by the real CLI.
func TestTextIsTheCLIs(t *testing.T) {
	r, address := server(t)
	for _, e := range others() {
		r.Add(e, []policy.Ref{allow.Policy})
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, format := range []string{text.Compact, text.Table, text.JSON} {
		t.Run(format, func(t *testing.T) {
			stream, err := observerpb.NewObserverClient(conn).GetFlows(t.Context(), &observerpb.GetFlowsRequest{Number: 1000})
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			p, err := text.New(text.Config{Out: &got, Format: format, Policies: true, Nodes: true})
			if err != nil {
				t.Fatal(err)
			}
			for {
				res, err := stream.Recv()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := p.Print(res); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Close(); err != nil {
				t.Fatal(err)
			}
			want := run(t, address, "observe", "--last", "1000", "-o", format, "--print-policy-names", "--print-node-name")
			if format == text.JSON {
				// The encoder of protobuf puts spaces where it likes.
				want, got = strings.ReplaceAll(want, " ", ""), *bytes.NewBufferString(strings.ReplaceAll(got.String(), " ", ""))
			}
			theirs, ours := strings.Split(want, "\n"), strings.Split(got.String(), "\n")
			if len(theirs) != len(ours) {
				t.Fatalf("%d lines, and the CLI prints %d:\n%s", len(ours), len(theirs), want)
			}
			for i := range theirs {
				if theirs[i] != ours[i] {
					t.Errorf("line %d is\n%s\nand the CLI prints\n%s", i, ours[i], theirs[i])
				}
			}
		})
	}
}
