package flow

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	flowpb "github.com/cilium/cilium/api/v1/flow"
	observerpb "github.com/cilium/cilium/api/v1/observer"
	peerpb "github.com/cilium/cilium/api/v1/peer"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/septum-dev/septum/policy"
)

// serve serves r on a unix socket and returns a connection to it.
func serve(t *testing.T, r *Recorder) (*grpc.ClientConn, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "hubble.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Serve(ctx, l) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	return conn, path
}

// numbered adds n dropped connections, one a second, whose source ports count from first.
func numbered(r *Recorder, first, n int) {
	for i := range n {
		e := packet(policy.Denied, "spoofed", "10.0.0.1:"+strconv.Itoa(first+i))
		e.Time = noon.Add(time.Duration(first+i) * time.Second)
		r.Add(e, nil)
	}
}

// ports is what comes in: source ports, and "lost n".
func ports(t *testing.T, stream observerpb.Observer_GetFlowsClient, most int) string {
	t.Helper()
	var got []string
	for len(got) < most {
		res, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if lost := res.GetLostEvents(); lost != nil {
			got = append(got, "lost "+strconv.Itoa(int(lost.GetNumEventsLost())))
			continue
		}
		got = append(got, strconv.Itoa(int(res.GetFlow().GetL4().GetTCP().GetSourcePort())))
	}
	return strings.Join(got, " ")
}

func TestGetFlows(t *testing.T) {
	r := recorder(t, Config{Room: 8})
	numbered(r, 1, 10) // 1 and 2 are gone
	conn, _ := serve(t, r)
	second := func(n int) *timestamppb.Timestamp { return timestamppb.New(noon.Add(time.Duration(n) * time.Second)) }
	odd := []*flowpb.FlowFilter{{SourcePort: []string{"3", "5", "7", "9"}}}
	for name, c := range map[string]struct {
		req  *observerpb.GetFlowsRequest
		want string
	}{
		"all":                     {&observerpb.GetFlowsRequest{}, "3 4 5 6 7 8 9 10"},
		"the last three":          {&observerpb.GetFlowsRequest{Number: 3}, "8 9 10"},
		"more than there are":     {&observerpb.GetFlowsRequest{Number: 1 << 63}, "3 4 5 6 7 8 9 10"},
		"the first three":         {&observerpb.GetFlowsRequest{Number: 3, First: true}, "3 4 5"},
		"the last two of some":    {&observerpb.GetFlowsRequest{Number: 2, Whitelist: odd}, "7 9"},
		"the first two of some":   {&observerpb.GetFlowsRequest{Number: 2, First: true, Blacklist: odd}, "4 6"},
		"since":                   {&observerpb.GetFlowsRequest{Since: second(8)}, "8 9 10"},
		"until":                   {&observerpb.GetFlowsRequest{Until: second(5)}, "3 4 5"},
		"since and until":         {&observerpb.GetFlowsRequest{Since: second(5), Until: second(6)}, "5 6"},
		"the last one until":      {&observerpb.GetFlowsRequest{Number: 1, Until: second(6)}, "6"},
		"nothing is that young":   {&observerpb.GetFlowsRequest{Since: second(50)}, ""},
		"followed to a past time": {&observerpb.GetFlowsRequest{Number: 2, Follow: true, Until: second(6)}, "5 6"},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := observerpb.NewObserverClient(conn).GetFlows(t.Context(), c.req)
			if err != nil {
				t.Fatal(err)
			}
			if got := ports(t, stream, 100); got != c.want {
				t.Errorf("flows are %q and should be %q", got, c.want)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	r := recorder(t, Config{Room: 8})
	numbered(r, 1, 5)
	conn, _ := serve(t, r)
	for name, c := range map[string]struct {
		number uint64
		want   string
	}{"from before": {2, "4 5 21 22"}, "from now": {0, "21 22"}} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			black := []*flowpb.FlowFilter{{SourcePort: []string{"20", "31", "32"}}}
			stream, err := observerpb.NewObserverClient(conn).GetFlows(ctx, &observerpb.GetFlowsRequest{Number: c.number, Follow: true, Blacklist: black})
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if c.number > 0 {
				got = ports(t, stream, int(c.number)) + " "
			} else {
				awaitStream(t, r)
			}
			numbered(r, 20, 3)
			if got += ports(t, stream, 2); got != c.want {
				t.Errorf("flows are %q and should be %q", got, c.want)
			}
			cancel()
			for len(r.streams) > 0 {
				time.Sleep(time.Millisecond)
			}
			r.ring = newRing(8)
			numbered(r, 1, 5)
		})
	}
}

// awaitStream waits until a reader waits for what comes.
func awaitStream(t *testing.T, r *Recorder) {
	t.Helper()
	for range 5000 {
		if r.ring.grown.Load() != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("nobody follows")
}

func TestWhatAReaderMissedIsCounted(t *testing.T) {
	r := recorder(t, Config{Room: 4})
	numbered(r, 1, 4)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	// The reader is slow: while it takes the fourth flow, ten others come.
	err := query{follow: true, number: 4}.run(ctx, r.ring, func(res *observerpb.GetFlowsResponse) error {
		if lost := res.GetLostEvents(); lost != nil {
			got = append(got, "lost "+strconv.Itoa(int(lost.GetNumEventsLost())))
			return nil
		}
		got = append(got, strconv.Itoa(int(res.GetFlow().GetL4().GetTCP().GetSourcePort())))
		switch got[len(got)-1] {
		case "4":
			numbered(r, 5, 10)
		case "14":
			cancel()
		}
		return nil
	})
	if want := "1 2 3 4 lost 6 11 12 13 14"; strings.Join(got, " ") != want || !errors.Is(err, context.Canceled) {
		t.Errorf("the reader saw %v, %v; and should have seen %s", got, err, want)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	conn, _ := serve(t, recorder(t, Config{}))
	for name, req := range map[string]*observerpb.GetFlowsRequest{
		"a filter that is not known": {Whitelist: []*flowpb.FlowFilter{{Uuid: []string{"x"}}}},
		"first and follow":           {First: true, Follow: true},
		"no field of a flow":         {FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"nonsense"}}},
		"no time":                    {Since: &timestamppb.Timestamp{Nanos: -1}},
		"too large":                  {Whitelist: []*flowpb.FlowFilter{{SourcePod: []string{strings.Repeat("a", maxRequest)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := observerpb.NewObserverClient(conn).GetFlows(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); status.Code(err) != codes.InvalidArgument && status.Code(err) != codes.ResourceExhausted {
				t.Errorf("the answer is %v", err)
			}
		})
	}
}

func TestFieldMask(t *testing.T) {
	r := recorder(t, Config{})
	numbered(r, 1, 1)
	conn, _ := serve(t, r)
	stream, err := observerpb.NewObserverClient(conn).GetFlows(t.Context(), &observerpb.GetFlowsRequest{
		FieldMask: &fieldmaskpb.FieldMask{Paths: []string{"source.pod_name", "l4", "verdict"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	res, err := stream.Recv()
	if err != nil {
		t.Fatal(err)
	}
	f := res.GetFlow()
	if f.GetSource().GetPodName() != "frontend-5f" || f.GetL4().GetTCP().GetSourcePort() != 1 || f.GetVerdict() != flowpb.Verdict_DROPPED {
		t.Errorf("what was asked for is missing in %v", f)
	}
	if f.GetSource().GetNamespace() != "" || f.GetDestination() != nil || f.GetTime() != nil {
		t.Errorf("what was not asked for is in %v", f)
	}
	if all := r.all()[0]; all.GetDestination().GetPodName() != "backend-5f" {
		t.Errorf("the flow that is kept has lost something: %v", all)
	}
}

func TestStatusOfTheNode(t *testing.T) {
	r := recorder(t, Config{Room: 4, Version: "septum"})
	numbered(r, 1, 6)
	conn, path := serve(t, r)
	client := observerpb.NewObserverClient(conn)
	s, err := client.ServerStatus(t.Context(), &observerpb.ServerStatusRequest{})
	if err != nil || s.GetNumFlows() != 4 || s.GetMaxFlows() != 4 || s.GetSeenFlows() != 6 || s.GetFlowsRate() == 0 {
		t.Errorf("status is %v, %v", s, err)
	}
	nodes, err := client.GetNodes(t.Context(), &observerpb.GetNodesRequest{})
	if err != nil || len(nodes.GetNodes()) != 1 || nodes.GetNodes()[0].GetName() != "node1" {
		t.Errorf("nodes are %v, %v", nodes, err)
	}
	namespaces, err := client.GetNamespaces(t.Context(), &observerpb.GetNamespacesRequest{})
	if n := namespaces.GetNamespaces(); err != nil || len(n) != 1 || n[0].GetNamespace() != "demo" || n[0].GetCluster() != "one" {
		t.Errorf("namespaces are %v, %v", n, err)
	}
	h, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{Service: "hubble.server.Observer"})
	if err != nil || h.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health is %v, %v", h, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v", info, err)
	}
}

func TestPeersStayOpen(t *testing.T) {
	conn, _ := serve(t, recorder(t, Config{}))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	stream, err := peerpb.NewPeerClient(conn).Notify(ctx, &peerpb.NotifyRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := stream.Recv(); err != nil || n.GetName() != "node1" || n.GetType() != peerpb.ChangeNotificationType_PEER_ADDED {
		t.Errorf("the first message is %v, %v", n, err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("then comes %v", err)
	}
}

func TestTooManyReaders(t *testing.T) {
	r := recorder(t, Config{})
	for range maxStreams {
		r.streams <- struct{}{}
	}
	conn, _ := serve(t, r)
	stream, err := observerpb.NewObserverClient(conn).GetFlows(t.Context(), &observerpb.GetFlowsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one more gets %v", err)
	}
}

func TestAddressesToListenAt(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", ":0", "[::]:0", "10.0.0.1:0", "nonsense"} {
		if l, err := ListenLoopback(addr); err == nil {
			l.Close()
			t.Errorf("%s is listened at", addr)
		}
	}
	l, err := ListenLoopback("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	path := filepath.Join(t.TempDir(), "s")
	for range 2 { // the second time, the first one's is in the way
		l, err := ListenUnix(path)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}
