package text

import (
	"bytes"
	"strings"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// responses are a flow of a hostile server, a loss, and a node that does not answer.
func responses() []*observerpb.GetFlowsResponse {
	at := timestamppb.New(time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC))
	const bad = "x\x1b[2J\r\ny"
	flow := &flowpb.Flow{
		Time: at, NodeName: bad, Verdict: flowpb.Verdict_DROPPED, IsReply: wrapperspb.Bool(false), Summary: bad, //nolint:staticcheck // older servers fill it
		IP: &flowpb.IP{Source: "10.0.0.1", Destination: bad}, Source: &flowpb.Endpoint{Namespace: bad, PodName: bad, Identity: 300},
		Destination: &flowpb.Endpoint{Identity: 2}, EventType: &flowpb.CiliumEventType{Type: 5},
		TrafficDirection: flowpb.TrafficDirection_INGRESS, IngressDeniedBy: []*flowpb.Policy{{Kind: bad, Name: bad}},
	}
	return []*observerpb.GetFlowsResponse{
		{Time: at, NodeName: bad, ResponseTypes: &observerpb.GetFlowsResponse_Flow{Flow: flow}},
		{Time: at, NodeName: "node1", ResponseTypes: &observerpb.GetFlowsResponse_LostEvents{LostEvents: &flowpb.LostEvent{Source: flowpb.LostEventSource_HUBBLE_RING_BUFFER, NumEventsLost: 7}}},
		{Time: at, NodeName: "relay", ResponseTypes: &observerpb.GetFlowsResponse_NodeStatus{NodeStatus: &relaypb.NodeStatusEvent{StateChange: relaypb.NodeState_NODE_UNAVAILABLE, NodeNames: []string{bad}}}},
		{Time: at, ResponseTypes: &observerpb.GetFlowsResponse_NodeStatus{NodeStatus: &relaypb.NodeStatusEvent{StateChange: relaypb.NodeState_NODE_CONNECTED, NodeNames: []string{"node1"}}}},
	}
}

func TestPrinter(t *testing.T) {
	const harmless = "x\uFFFD[2J\uFFFD\uFFFDy"
	for name, c := range map[string]struct {
		config   Config
		out, err string
	}{
		"compact": {Config{Policies: true, Nodes: true}, "Mar  4 12:00:00.000 [BAD]: BAD/BAD (ID:300) -> BAD (world) policy-verdict:none INGRESS DENIED BY BAD (BAD) (BAD)\n" +
			"Mar  4 12:00:00.000 EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 7\n", "Mar  4 12:00:00.000 [relay]: 1 nodes are unavailable: BAD\n"},
		"colour": {Config{Colour: true}, "Mar  4 12:00:00.000: \x1b[36mBAD/BAD\x1b[0m \x1b[35m(ID:300)\x1b[0m -> \x1b[36mBAD\x1b[0m \x1b[35m(world)\x1b[0m policy-verdict:none INGRESS \x1b[31mDENIED\x1b[0m (BAD)\n" +
			"Mar  4 12:00:00.000 EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 7\n", "Mar  4 12:00:00.000 [relay]: 1 nodes are unavailable: BAD\n"},
		"table": {Config{Format: Table, Colour: true}, "TIMESTAMP SOURCE DESTINATION TYPE VERDICT SUMMARY\n" +
			"Mar 4 12:00:00.000 BAD/BAD BAD policy-verdict:none INGRESS DENIED BAD\n" +
			"Mar 4 12:00:00.000 HUBBLE_RING_BUFFER - EVENTS LOST - CPU(0) - 7\n", "Mar  4 12:00:00.000 [relay]: 1 nodes are unavailable: BAD\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, err bytes.Buffer
			c.config.Out, c.config.Err = &out, &err
			show(t, c.config)
			got := out.String()
			if c.config.Format == Table {
				var lines []string
				for _, line := range strings.Split(got, "\n") {
					lines = append(lines, strings.Join(strings.Fields(line), " "))
				}
				got = strings.Join(lines, "\n")
			}
			if want := strings.ReplaceAll(c.out, "BAD", harmless); got != want {
				t.Errorf("it prints\n%q\nand should print\n%q", got, want)
			}
			if want := strings.ReplaceAll(c.err, "BAD", harmless); err.String() != want {
				t.Errorf("it says\n%q\nand should say\n%q", err.String(), want)
			}
		})
	}
}

// JSON says what came, for programs, and yet nothing that a terminal could act upon.
func TestJSONIsHarmless(t *testing.T) {
	var out bytes.Buffer
	show(t, Config{Out: &out, Format: JSON})
	if strings.ContainsAny(out.String(), "\x1b\r") || !strings.Contains(out.String(), `"num_events_lost":"7"`) {
		t.Errorf("it prints %q", out.String())
	}
}

func TestFormatsAreNamed(t *testing.T) {
	if _, err := New(Config{Format: "yaml"}); err == nil || !strings.Contains(err.Error(), "compact, table, json") {
		t.Errorf("the error is %v", err)
	}
}

func show(t *testing.T, c Config) {
	t.Helper()
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range responses() {
		if err := p.Print(res); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}
