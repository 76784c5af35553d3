package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

const testTimeout = 20 * time.Second

// recorder is an Observer that can be asked and waited for.
type recorder struct {
	mu        sync.Mutex
	connected map[string]int
	pushed    map[string][]int // by node and type, the sizes of the responses
	refused   map[string][]error
	acked     int
	reports   map[string][]*septumpb.NodeReport
	silent    map[string]int
	// restricted is the last of each node.
	restricted map[string]Restriction
}

func newRecorder() *recorder {
	return &recorder{
		connected: map[string]int{}, pushed: map[string][]int{}, refused: map[string][]error{},
		reports: map[string][]*septumpb.NodeReport{}, silent: map[string]int{}, restricted: map[string]Restriction{},
	}
}

func (r *recorder) with(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *recorder) Connected(node string)    { r.with(func() { r.connected[node]++ }) }
func (r *recorder) Disconnected(node string) { r.with(func() { r.connected[node]-- }) }
func (r *recorder) Silent(node string)       { r.with(func() { r.silent[node]++ }) }
func (r *recorder) Restricted(node string, to Restriction) {
	r.with(func() { r.restricted[node] = to })
}
func (r *recorder) Acked(node, _ string, err error) {
	r.with(func() {
		if r.acked++; err != nil {
			r.refused[node] = append(r.refused[node], err)
		}
	})
}
func (r *recorder) Pushed(node, url string, n int) {
	r.with(func() { r.pushed[node+" "+url] = append(r.pushed[node+" "+url], n) })
}
func (r *recorder) Reported(node string, report *septumpb.NodeReport) {
	r.with(func() { r.reports[node] = append(r.reports[node], report) })
}

// eventually waits until the condition holds.
func (r *recorder) eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		ok := false
		r.with(func() { ok = condition() })
		if ok {
			return
		}
	}
	t.Fatalf("not seen in %s: %s", testTimeout, what)
}

// operator is a server on a loopback port that can go away and come back.
type operator struct {
	*recorder
	t      *testing.T
	ca     *CA
	addr   string
	server *Server
	states NodeStates
	stop   func()
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	ca, err := NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	o := &operator{recorder: newRecorder(), t: t, ca: ca, addr: "127.0.0.1:0"}
	o.start()
	t.Cleanup(func() { o.stop() })
	return o
}

func (o *operator) start() {
	o.t.Helper()
	var err error
	o.server, err = NewServer(ServerConfig{
		Names: []string{"operator.test"}, CA: func() *CA { return o.ca }, Observer: o.recorder, States: o.states, Now: time.Now,
		Authenticate: func(_ context.Context, token string) (string, error) {
			node, ok := strings.CutPrefix(token, "token of ")
			if !ok {
				return "", errors.New("not a token")
			}
			return node, nil
		},
	})
	if err != nil {
		o.t.Fatal(err)
	}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		o.t.Fatal(err)
	}
	o.addr = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := o.server.Serve(ctx, listener); err != nil {
			o.t.Errorf("serve: %v", err)
		}
	}()
	o.stop = func() {
		cancel()
		<-done
	}
}

func (o *operator) publish(policies ...policy.NodePolicy) {
	o.t.Helper()
	p := Publication{Nodes: map[string]map[string]*septumpb.NodeResource{}}
	for _, np := range policies {
		p.Nodes[np.Node], p.Cluster = resources(o.t, np)
	}
	if err := o.server.Publish(p); err != nil {
		o.t.Fatal(err)
	}
}

// config is a client's, with files of its own.
func (o *operator) config(node string) ClientConfig {
	o.t.Helper()
	dir := o.t.TempDir()
	c := ClientConfig{
		Target: o.addr, ServerName: "operator.test", Node: node, StateDir: dir,
		RootsFile: filepath.Join(dir, "ca.crt"), TokenFile: filepath.Join(dir, "token"),
	}
	for file, text := range map[string]string{c.RootsFile: string(o.ca.Bundle()), c.TokenFile: "token of " + node + "\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			o.t.Fatal(err)
		}
	}
	return c
}

// run makes a client and starts it.
func run(t *testing.T, config ClientConfig) (*Client, func()) {
	t.Helper()
	c, err := NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	return c, start(t, c)
}

// start runs a client until the test ends or the returned function is called.
func start(t *testing.T, c *Client) func() {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := c.Run(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	stop := func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func next(t *testing.T, c *Client) Update {
	t.Helper()
	select {
	case u := <-c.Updates():
		return u
	case <-time.After(testTimeout):
		t.Fatalf("no update in %s", testTimeout)
		return Update{}
	}
}

// open opens a stream with the client's certificate, or without one, and makes its first request.
func open(t *testing.T, c *Client, pair *tls.Certificate, first *discovery.DeltaDiscoveryRequest) error {
	t.Helper()
	roots, err := c.roots()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.dial(roots, pair)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	t.Cleanup(cancel)
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(first); err != nil {
		return receiveError(stream, err)
	}
	_, err = stream.Recv()
	return err
}

func TestANodeGetsOnlyItsOwn(t *testing.T) {
	o := newOperator(t)
	o.publish(samplePolicy("node1"), samplePolicy("node2"))
	c, stop := run(t, o.config("node1"))
	if got := next(t, c).NodePolicy.Node; got != "node1" {
		t.Fatalf("the policy is of %q", got)
	}
	stop()
	stranger, err := NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	own := &c.identity.pair
	for name, tc := range map[string]struct {
		pair    *tls.Certificate
		request *discovery.DeltaDiscoveryRequest
		want    codes.Code
	}{
		"its own":              {own, &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType, Node: &corev3.Node{Id: "node1"}}, codes.OK},
		"no name":              {own, &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType}, codes.OK},
		"another's":            {own, &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType, Node: &corev3.Node{Id: "node2"}}, codes.PermissionDenied},
		"one resource":         {own, &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType, ResourceNamesSubscribe: []string{"table/in"}}, codes.InvalidArgument},
		"another type":         {own, &discovery.DeltaDiscoveryRequest{TypeUrl: "type.googleapis.com/x"}, codes.InvalidArgument},
		"no certificate":       {nil, &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType, Node: &corev3.Node{Id: "node1"}}, codes.Unauthenticated},
		"a node that is gone":  {pairOf(t, o.ca, "node3"), &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType}, codes.NotFound},
		"another CA":           {pairOf(t, stranger, "node1"), &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType}, codes.Unavailable},
		"a server certificate": {serverPair(t, o.ca), &discovery.DeltaDiscoveryRequest{TypeUrl: NodeType}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			if got := status.Code(open(t, c, tc.pair, tc.request)); got != tc.want {
				t.Errorf("answer is %s, want %s", got, tc.want)
			}
		})
	}
}

// issued is a node's certificate chain and key, as PEM.
func issued(t *testing.T, ca *CA, node string) (chain, keyPEM []byte) {
	t.Helper()
	key, csr, err := certificateRequest()
	if err != nil {
		t.Fatal(err)
	}
	if chain, err = ca.IssueNode(node, csr, time.Now()); err != nil {
		t.Fatal(err)
	}
	if keyPEM, err = encodeKey(key); err != nil {
		t.Fatal(err)
	}
	return chain, keyPEM
}

func pairOf(t *testing.T, ca *CA, node string) *tls.Certificate {
	t.Helper()
	chain, keyPEM := issued(t, ca, node)
	pair, err := tls.X509KeyPair(chain, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

func serverPair(t *testing.T, ca *CA) *tls.Certificate {
	t.Helper()
	pair, err := ca.issueServer([]string{"operator.test"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestStrangersAreBounded(t *testing.T) {
	o := newOperator(t)
	c, err := NewClient(o.config("node1"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := c.roots()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := c.dial(roots, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	service := septumpb.NewNodeServiceClient(conn)
	for name, tc := range map[string]struct {
		request *septumpb.AuthenticateRequest
		want    codes.Code
	}{
		"a wrong token":  {&septumpb.AuthenticateRequest{Token: "x", Csr: request(t)}, codes.Unauthenticated},
		"no request":     {&septumpb.AuthenticateRequest{Token: "token of node1"}, codes.InvalidArgument},
		"a long token":   {&septumpb.AuthenticateRequest{Token: strings.Repeat("x", maxTokenBytes+1)}, codes.InvalidArgument},
		"a flood":        {&septumpb.AuthenticateRequest{Token: strings.Repeat("x", 4*strangerBytes)}, codes.Unavailable},
		"all that it is": {&septumpb.AuthenticateRequest{Token: "token of node1", Csr: request(t)}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := service.Authenticate(t.Context(), tc.request)
			if got := status.Code(err); got != tc.want {
				t.Errorf("answer is %s (%v), want %s", got, err, tc.want)
			}
		})
	}
	t.Run("a report", func(t *testing.T) {
		stream, err := service.Report(t.Context())
		if err == nil {
			_, err = stream.Recv()
		}
		if got := status.Code(err); got != codes.Unauthenticated {
			t.Errorf("answer is %s, want %s", got, codes.Unauthenticated)
		}
	})
}

func TestAnAddressAsksOnlySoOften(t *testing.T) {
	var limits peerLimits
	one, other := netip.MustParseAddr("10.244.1.5"), netip.MustParseAddr("10.244.1.6")
	for i := range questionsBurst {
		if !limits.allow(one) {
			t.Fatalf("question %d is refused", i)
		}
	}
	if limits.allow(one) {
		t.Error("one question too many is allowed")
	}
	if !limits.allow(other) {
		t.Error("another address is refused, too")
	}
	for addr := other; len(limits.peers) < peersKept && addr.IsValid(); addr = addr.Next() {
		limits.allow(addr)
	}
	limits.allow(netip.MustParseAddr("192.0.2.1"))
	if n := len(limits.peers); n != 1 {
		t.Errorf("%d addresses are remembered", n)
	}
}

func TestTheNewestStreamWins(t *testing.T) {
	s := sessions{open: map[sessionKey][]*session{}}
	var events []string
	first := func(node string) { events = append(events, "first "+node) }
	last := func(node string) { events = append(events, "last "+node) }
	var contexts []context.Context
	var all []*session
	for range streamsPerNode + 1 {
		ctx, session := s.begin(t.Context(), "node1", "xds", first, last)
		contexts, all = append(contexts, ctx), append(all, session)
	}
	if contexts[0].Err() == nil || contexts[1].Err() != nil {
		t.Error("the oldest stream is not the one that ended")
	}
	s.end("node1")
	for i, ctx := range contexts {
		if ctx.Err() == nil {
			t.Errorf("stream %d of a removed node goes on", i)
		}
		all[i].close()
	}
	if got := fmt.Sprint(events); got != "[first node1 last node1]" || len(s.open) != 0 {
		t.Errorf("events are %s, and %d kinds are left", got, len(s.open))
	}
}
