package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/xds/septumpb"
)

// NodeStates is where a replica's knowledge of its nodes comes from.
type NodeStates interface {
	// Follow sends the state of each node, and again when it changes, until the context ends
	// or send fails. It may leave out states that were true only in between.
	Follow(ctx context.Context, send func(*septumpb.NodeState) error) error
}

type replicaService struct {
	septumpb.UnimplementedReplicaServiceServer
	server *Server
}

// Follow serves the leader.
func (r *replicaService) Follow(_ *septumpb.FollowRequest, stream septumpb.ReplicaService_FollowServer) error {
	// No node has an empty name. When there is a new leader, the old one's stream goes.
	ctx, session := r.server.sessions.begin(stream.Context(), "", "replica", func(string) {}, func(string) {})
	defer session.close()
	if err := r.server.config.States.Follow(ctx, stream.Send); err != nil && ctx.Err() == nil {
		return err
	}
	return status.Error(codes.Aborted, "the stream was replaced by a newer one")
}

// operatorFrom checks that the connection's certificate is an operator's.
func operatorFrom(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return status.Error(codes.Unauthenticated, "the connection is not known")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	if err := hasRole(operatorPath)(info.State); err != nil {
		return status.Error(codes.PermissionDenied, err.Error())
	}
	return nil
}

// ReplicaConfig says how one replica of the operator asks another; every field is required.
type ReplicaConfig struct {
	// Address is the other's, "host:port", and ServerName the name in its certificate.
	Address, ServerName string
	// CA is the authority in force.
	CA  *CA
	Now func() time.Time
}

// FollowReplica gives take what another replica knows of its nodes, until the connection or
// the context ends. It always returns an error.
func FollowReplica(ctx context.Context, config ReplicaConfig, take func(*septumpb.NodeState)) error {
	if config.CA == nil {
		return errors.New("there is no CA yet")
	}
	pair, err := config.CA.issueClient(operatorPath, config.Now())
	if err != nil {
		return err
	}
	conn, err := grpc.NewClient("passthrough:///"+config.Address,
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, RootCAs: config.CA.pool(), ServerName: config.ServerName, Time: config.Now,
			Certificates: []tls.Certificate{*pair},
		})),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxRequestBytes)),
	)
	if err != nil {
		return fmt.Errorf("connect to the replica at %s: %w", config.Address, err)
	}
	defer conn.Close()
	stream, err := septumpb.NewReplicaServiceClient(conn).Follow(ctx, &septumpb.FollowRequest{})
	if err != nil {
		return fmt.Errorf("ask the replica at %s: %w", config.Address, err)
	}
	for {
		state, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("follow the replica at %s: %w", config.Address, err)
		}
		take(state)
	}
}
