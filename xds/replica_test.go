package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/septum-dev/septum/xds/septumpb"
)

// told is a NodeStates that sends what it is given.
type told chan *septumpb.NodeState

func (t told) Follow(ctx context.Context, send func(*septumpb.NodeState) error) error {
	for {
		select {
		case s := <-t:
			if err := send(s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// TestAnotherReplicaResendsNothing holds that a node which goes from one replica to another is
// sent what differs, and nothing else: each has compiled for itself.
func TestAnotherReplicaResendsNothing(t *testing.T) {
	first := newOperator(t)
	first.publish(samplePolicy("node1"))
	second := &operator{recorder: newRecorder(), t: t, ca: first.ca, addr: "127.0.0.1:0"}
	second.start()
	t.Cleanup(func() { second.stop() })
	second.publish(samplePolicy("node1"))

	c, _ := run(t, first.config("node1"))
	next(t, c)
	// The address of the Service stays; who answers there is another.
	first.stop()
	addr := first.addr
	second.stop()
	second.addr = addr
	second.start()
	second.publish(samplePolicy("node1"))
	second.eventually(t, "the node has come", func() bool { return len(second.pushed) == 2 })
	second.with(func() {
		if diff := cmp.Diff(map[string][]int{"node1 " + NodeType: {0}, "node1 " + ClusterType: {0}}, second.pushed); diff != "" {
			t.Errorf("something was sent again (-want +got):\n%s", diff)
		}
	})
	second.publish(edited(samplePolicy("node1"), "/new"))
	samePolicy(t, edited(samplePolicy("node1"), "/new"), next(t, c).NodePolicy)
	second.with(func() {
		if got := second.pushed["node1 "+NodeType]; len(got) != 2 || got[1] != 2 {
			t.Errorf("a change was sent in responses of %v resources, want 2 in one", got)
		}
	})
}

func TestTheLeaderFollowsReplicas(t *testing.T) {
	o := newOperator(t)
	o.stop()
	states := make(told)
	o.states = states
	o.start()
	config := ReplicaConfig{Address: o.addr, ServerName: "operator.test", CA: o.ca, Now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got, ended := make(chan *septumpb.NodeState, 1), make(chan error, 1)
	go func() { ended <- FollowReplica(ctx, config, func(s *septumpb.NodeState) { got <- s }) }()
	want := &septumpb.NodeState{Node: "node1", Connected: true, SinceMs: 5, Report: &septumpb.NodeReport{NodeVersion: "n"}}
	deadline := time.After(testTimeout)
	select {
	case states <- want:
	case <-deadline:
		t.Fatal("nobody follows")
	}
	select {
	case s := <-got:
		if diff := cmp.Diff(want, s, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	case <-deadline:
		t.Fatal("nothing was told")
	}
	// Those who lead after another: a third stream ends the first.
	for range streamsPerNode {
		go func() { _ = FollowReplica(ctx, config, func(*septumpb.NodeState) {}) }()
	}
	select {
	case err := <-ended:
		if status.Code(errors.Unwrap(err)) != codes.Aborted {
			t.Errorf("ended by %v", err)
		}
	case <-deadline:
		t.Error("streams pile up")
	}
}

// TestOnlyOperatorsFollow holds that a node, a stranger and another authority's operator are
// told nothing of what nodes say.
func TestOnlyOperatorsFollow(t *testing.T) {
	o := newOperator(t)
	o.stop()
	o.states = make(told)
	o.start()
	other, err := NewCA(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.issueClient(operatorPath, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	reader, err := o.ca.issueClient(readerPath, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		pair []tls.Certificate
		want codes.Code
	}{
		"a node":                {[]tls.Certificate{*pairOf(t, o.ca, "node1")}, codes.PermissionDenied},
		"a reader of flows":     {[]tls.Certificate{*reader}, codes.PermissionDenied},
		"nobody":                {nil, codes.PermissionDenied},
		"another CA's operator": {[]tls.Certificate{*foreign}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := grpc.NewClient("passthrough:///"+o.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
				MinVersion: tls.VersionTLS13, RootCAs: o.ca.pool(), ServerName: "operator.test", Certificates: c.pair,
			})))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			stream, err := septumpb.NewReplicaServiceClient(conn).Follow(ctx, &septumpb.FollowRequest{})
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}
