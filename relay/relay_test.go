package relay_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	relaypb "github.com/cilium/cilium/api/v1/relay"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/septum-dev/septum/enforcer/flow"
	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/relay"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// add adds a flow of that second after noon, whose source port is the second.
func add(r *flow.Recorder, seconds ...int) {
	for _, s := range seconds {
		r.Add(policy.Event{
			Time: noon.Add(time.Duration(s) * time.Second), Verdict: policy.Denied, DropReason: "spoofed", Protocol: policy.ProtocolTCP,
			Src: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(s)), Dst: netip.MustParseAddrPort("10.0.0.2:80"),
		}, nil)
	}
}

// node is a node's recorder and its server, which can be stopped.
type node struct {
	*flow.Recorder
	relay.Node
	stop func()
}

func newNode(t *testing.T, name string, room int) node {
	t.Helper()
	r, err := flow.New(flow.Config{Node: name, Room: room, Version: "v"})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, r.Serve)
	t.Cleanup(stop)
	return node{Recorder: r, Node: relay.Node{Name: name, Address: address}, stop: stop}
}

// serve runs f on a port of its own, until stop is called.
func serve(t *testing.T, f func(context.Context, net.Listener) error) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx, l); err != nil {
			t.Error(err)
		}
	}()
	return l.Addr().String(), func() { cancel(); <-done }
}

// mute takes connections and says nothing.
func mute(t *testing.T, name string) relay.Node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return relay.Node{Name: name, Address: l.Addr().String()}
}

// client is a client of a relay over the nodes.
func client(t *testing.T, patience time.Duration, nodes ...relay.Node) observerpb.ObserverClient {
	t.Helper()
	r, err := relay.New(relay.Config{
		Nodes:       func(context.Context) ([]relay.Node, error) { return nodes, nil },
		Credentials: func(string) credentials.TransportCredentials { return insecure.NewCredentials() },
		Patience:    patience,
	})
	if err != nil {
		t.Fatal(err)
	}
	address, stop := serve(t, func(ctx context.Context, l net.Listener) error { return r.Serve(ctx, l, insecure.NewCredentials()) })
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); stop() })
	return observerpb.NewObserverClient(conn)
}

// word is a response in a word: the source port, or what became of which nodes.
func word(res *observerpb.GetFlowsResponse) string {
	if s := res.GetNodeStatus(); s != nil {
		return map[relaypb.NodeState]string{
			relaypb.NodeState_NODE_CONNECTED: "connected", relaypb.NodeState_NODE_UNAVAILABLE: "unavailable", relaypb.NodeState_NODE_GONE: "gone",
		}[s.GetStateChange()] + "(" + strings.Join(s.GetNodeNames(), ",") + ")"
	}
	if l := res.GetLostEvents(); l != nil {
		return fmt.Sprintf("lost(%s,%d)", res.GetNodeName(), l.GetNumEventsLost())
	}
	return fmt.Sprint(res.GetFlow().GetL4().GetTCP().GetSourcePort())
}

// words are the flows of a request that ends, and the node statuses apart.
func words(t *testing.T, c observerpb.ObserverClient, req *observerpb.GetFlowsRequest) (flows, statuses string, err error) {
	t.Helper()
	stream, err := c.GetFlows(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	var f, s []string
	for {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			if res.GetNodeStatus() != nil {
				s = append(s, word(res))
			} else {
				f = append(f, word(res))
			}
			continue
		}
		return strings.Join(f, " "), strings.Join(s, " "), err
	}
}

func TestFlowsAreMergedByTime(t *testing.T) {
	a, b, empty := newNode(t, "a", 0), newNode(t, "b", 0), newNode(t, "c", 0)
	add(a.Recorder, 1, 4, 5, 9)
	add(b.Recorder, 2, 3, 6, 7, 8)
	c := client(t, time.Minute, b.Node, empty.Node, a.Node)
	for name, tt := range map[string]struct {
		req  *observerpb.GetFlowsRequest
		want string
	}{
		"all":            {&observerpb.GetFlowsRequest{}, "1 2 3 4 5 6 7 8 9"},
		"all by number":  {&observerpb.GetFlowsRequest{Number: 1<<64 - 1}, "1 2 3 4 5 6 7 8 9"},
		"last":           {&observerpb.GetFlowsRequest{Number: 4}, "6 7 8 9"},
		"last of more":   {&observerpb.GetFlowsRequest{Number: 40}, "1 2 3 4 5 6 7 8 9"},
		"first":          {&observerpb.GetFlowsRequest{Number: 4, First: true}, "1 2 3 4"},
		"since":          {&observerpb.GetFlowsRequest{Since: timestamppb.New(noon.Add(5 * time.Second))}, "5 6 7 8 9"},
		"until":          {&observerpb.GetFlowsRequest{Until: timestamppb.New(noon.Add(5 * time.Second))}, "1 2 3 4 5"},
		"the last until": {&observerpb.GetFlowsRequest{Number: 2, Until: timestamppb.New(noon.Add(5 * time.Second))}, "4 5"},
		"a filter":       {&observerpb.GetFlowsRequest{Whitelist: []*flowpb.FlowFilter{{NodeName: []string{"b"}}}}, "2 3 6 7 8"},
		"but a filter":   {&observerpb.GetFlowsRequest{Blacklist: []*flowpb.FlowFilter{{SourcePort: []string{"4"}}}, Number: 6}, "3 5 6 7 8 9"},
	} {
		t.Run(name, func(t *testing.T) {
			flows, statuses, err := words(t, c, tt.req)
			if err != nil || flows != tt.want || statuses != "connected(a,b,c)" {
				t.Errorf("flows %s (%s, %v), not %s", flows, statuses, err, tt.want)
			}
		})
	}
}

// Far more flows than may wait for their turn come in order, each once.
func TestManyFlows(t *testing.T) {
	var nodes []relay.Node
	const each = 3000
	for n := range 3 {
		r := newNode(t, fmt.Sprint("n", n), 4096)
		nodes = append(nodes, r.Node)
		for i := range each {
			add(r.Recorder, i*3+n+1)
		}
	}
	flows, _, err := words(t, client(t, time.Minute, nodes...), &observerpb.GetFlowsRequest{})
	var want []string
	for i := range 3 * each {
		want = append(want, fmt.Sprint(i+1))
	}
	if err != nil || flows != strings.Join(want, " ") {
		t.Errorf("they do not come in order, or not all: %d of %d, %v", len(strings.Fields(flows)), 3*each, err)
	}
}

func TestDeadAndSilentNodesHoldNobodyUp(t *testing.T) {
	a, dead := newNode(t, "a", 0), newNode(t, "dead", 0)
	add(a.Recorder, 1, 2)
	dead.stop()
	c := client(t, 300*time.Millisecond, a.Node, dead.Node, mute(t, "mute"))
	flows, statuses, err := words(t, c, &observerpb.GetFlowsRequest{Number: 10})
	if err != nil || flows != "1 2" || !strings.HasPrefix(statuses, "connected(a) ") || !strings.Contains(statuses, "unavailable(dead)") || !strings.Contains(statuses, "unavailable(mute)") {
		t.Errorf("flows %s (%s, %v)", flows, statuses, err)
	}
	res, err := c.ServerStatus(t.Context(), &observerpb.ServerStatusRequest{})
	if err != nil || res.GetNumFlows() != 2 || res.GetNumConnectedNodes().GetValue() != 1 || res.GetNumUnavailableNodes().GetValue() != 2 ||
		strings.Join(res.GetUnavailableNodes(), " ") != "dead mute" {
		t.Errorf("the status is %v, %v", res, err)
	}
	list, err := c.GetNodes(t.Context(), &observerpb.GetNodesRequest{})
	if err != nil || len(list.GetNodes()) != 3 || list.GetNodes()[0].GetState() != relaypb.NodeState_NODE_CONNECTED || list.GetNodes()[2].GetState() != relaypb.NodeState_NODE_UNAVAILABLE {
		t.Errorf("the nodes are %v, %v", list, err)
	}
}

func TestFollow(t *testing.T) {
	a, b := newNode(t, "a", 0), newNode(t, "b", 0)
	add(a.Recorder, 1, 4)
	add(b.Recorder, 2, 3)
	stream, err := client(t, time.Minute, a.Node, b.Node).GetFlows(t.Context(), &observerpb.GetFlowsRequest{Number: 2, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			res, err := stream.Recv()
			if err != nil || word(res) != w {
				t.Fatalf("%v comes (%v), not %s", res, err, w)
			}
		}
	}
	expect("3", "4", "connected(a,b)")
	add(b.Recorder, 6)
	add(a.Recorder, 5)
	expect("5", "6") // although b's comes before
	b.stop()
	expect("unavailable(b)")
	add(a.Recorder, 7)
	expect("7")
}

// Who only follows is sent nothing of before; who asks for all of before and follows, all.
func TestFollowOnlyAndAll(t *testing.T) {
	a := newNode(t, "a", 0)
	add(a.Recorder, 1, 2)
	c := client(t, time.Minute, a.Node)
	for _, tt := range []struct {
		number uint64
		want   []string
	}{{0, []string{"connected(a)", "3"}}, {1<<64 - 1, []string{"1", "2", "3", "connected(a)", "3"}}} {
		stream, err := c.GetFlows(t.Context(), &observerpb.GetFlowsRequest{Number: tt.number, Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		for i, w := range tt.want {
			res, err := stream.Recv()
			if err != nil || word(res) != w {
				t.Fatalf("number %d: %v comes (%v), not %s", tt.number, res, err, w)
			}
			if i == len(tt.want)-2 {
				add(a.Recorder, 3)
			}
		}
	}
}

// A client that does not read makes nobody wait but itself, and is told what it missed.
func TestASlowClientIsToldWhatItMissed(t *testing.T) {
	a := newNode(t, "a", 1024)
	c := client(t, time.Minute, a.Node)
	slow, err := c.GetFlows(t.Context(), &observerpb.GetFlowsRequest{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := slow.Recv(); err != nil || word(res) != "connected(a)" {
		t.Fatal(res, err)
	}
	const all = 50_000
	for i := range all {
		add(a.Recorder, i%60_000+1)
	}
	got, lost := 0, uint64(0)
	for uint64(got)+lost < all {
		res, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if l := res.GetLostEvents(); l != nil {
			lost += l.GetNumEventsLost()
		} else if res.GetFlow() != nil {
			got++
		}
	}
	if lost == 0 || uint64(got)+lost != all {
		t.Errorf("%d flows and %d lost ones are not %d", got, lost, all)
	}
}

func TestWhatIsRefused(t *testing.T) {
	a := newNode(t, "a", 0)
	c := client(t, time.Minute, a.Node)
	for name, req := range map[string]*observerpb.GetFlowsRequest{
		"a filter that no flow has something for": {Whitelist: []*flowpb.FlowFilter{{Uuid: []string{"x"}}}},
		"too many by number":                      {Number: 1 << 30},
	} {
		t.Run(name, func(t *testing.T) {
			if _, _, err := words(t, c, req); status.Code(err) != codes.InvalidArgument {
				t.Errorf("the error is %v", err)
			}
		})
	}
	// So many readers are let in, and no more.
	for i := range 17 {
		stream, err := c.GetFlows(t.Context(), &observerpb.GetFlowsRequest{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Header()
		if i < 16 {
			continue
		}
		if err == nil {
			_, err = stream.Recv()
		}
		if status.Code(err) != codes.ResourceExhausted {
			t.Errorf("reader %d is answered %v", i+1, err)
		}
	}
}
