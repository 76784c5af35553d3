package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/septum-dev/septum/xds/septumpb"
)

const (
	maxResponseBytes = 128 << 20
	connectTimeout   = 5 * time.Second
	maxNackText      = 1024
)

// roots are the certificates to trust: the mounted ones, or, while there are none, those
// that were good when the node's certificate was issued.
func (c *Client) roots() ([]byte, error) {
	text, err := os.ReadFile(c.config.RootsFile)
	if err == nil && len(text) > 0 {
		return text, nil
	}
	if c.identity != nil && len(c.identity.roots) > 0 {
		return c.identity.roots, nil
	}
	if err == nil {
		err = errors.New("the file is empty")
	}
	return nil, fmt.Errorf("read the operator's CA: %w", err)
}

// trusted are the roots for those who connect to the node; nil if there are none.
func (c *Client) trusted(shown *identity) []byte {
	if text, err := os.ReadFile(c.config.RootsFile); err == nil && len(text) > 0 {
		return text
	}
	return shown.roots
}

// dial makes a connection; pair is nil for the one that asks for a certificate.
func (c *Client) dial(roots []byte, pair *tls.Certificate) (*grpc.ClientConn, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(roots) {
		return nil, fmt.Errorf("%s holds no certificate", c.config.RootsFile)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool, ServerName: c.config.ServerName, Time: c.config.Now}
	if pair != nil {
		config.Certificates = []tls.Certificate{*pair}
	}
	conn, err := grpc.NewClient("passthrough:///"+c.config.Target,
		grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveEvery, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponseBytes)),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.config.Target, err)
	}
	return conn, nil
}

// authenticate gets a certificate for the node's token, and keeps it on disk.
func (c *Client) authenticate(ctx context.Context, roots []byte) error {
	token, err := os.ReadFile(c.config.TokenFile)
	if err != nil {
		return fmt.Errorf("read the service account token: %w", err)
	}
	key, request, err := certificateRequest()
	if err != nil {
		return err
	}
	conn, err := c.dial(roots, nil)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, authTimeout+connectTimeout)
	defer cancel()
	response, err := septumpb.NewNodeServiceClient(conn).Authenticate(ctx, &septumpb.AuthenticateRequest{
		Token: strings.TrimSpace(string(token)), Csr: request,
	})
	if err != nil {
		return fmt.Errorf("ask the operator for a certificate: %w", err)
	}
	if response.GetNode() != c.config.Node {
		return fmt.Errorf("ask the operator for a certificate: it takes this node, %q, for %q", c.config.Node, response.GetNode())
	}
	keyPEM, err := encodeKey(key)
	if err != nil {
		return err
	}
	stored := storedIdentity{Key: string(keyPEM), Certificate: string(response.GetCertificate()), Roots: string(roots)}
	identity, err := parseIdentity(stored, c.config.Node)
	if err != nil {
		return fmt.Errorf("the operator's answer: %w", err)
	}
	if err := identity.good(roots, c.config.Now()); err != nil {
		return fmt.Errorf("the operator's answer: %w", err)
	}
	c.identity = identity
	c.shown.Store(identity)
	c.config.Log.Info("certificate received", "until", identity.pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	return saveIdentity(c.config.StateDir, stored)
}

// follow takes what the operator sends, until the stream ends.
func (c *Client) follow(ctx context.Context, conn *grpc.ClientConn, answered *bool) error {
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return fmt.Errorf("open the xDS stream: %w", err)
	}
	node := &corev3.Node{Id: c.config.Node, ClientFeatures: c.features}
	for _, first := range []*discovery.DeltaDiscoveryRequest{
		{Node: node, TypeUrl: ClusterType, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: c.view.sentCluster.versions()},
		{TypeUrl: NodeType, ResourceNamesSubscribe: []string{"*"}, InitialResourceVersions: c.view.sentNode.versions()},
	} {
		if err := stream.Send(first); err != nil {
			return fmt.Errorf("subscribe: %w", receiveError(stream, err))
		}
	}
	for {
		response, err := stream.Recv()
		if err != nil {
			return fmt.Errorf("receive from the operator: %w", err)
		}
		got := c.view.apply(response)
		answer := &discovery.DeltaDiscoveryRequest{TypeUrl: response.GetTypeUrl(), ResponseNonce: response.GetNonce()}
		if got.refused != nil {
			c.config.Log.Error(got.refused, "the operator's resources are refused", "type", response.GetTypeUrl())
			text := got.refused.Error()
			text = strings.ToValidUTF8(text[:min(len(text), maxNackText)], "")
			answer.ErrorDetail = status.New(codes.InvalidArgument, text).Proto()
		}
		if err := stream.Send(answer); err != nil {
			return fmt.Errorf("acknowledge: %w", receiveError(stream, err))
		}
		if got.broken {
			return fmt.Errorf("ask for everything again: %w", got.refused)
		}
		if got.changed {
			c.deliver()
		}
		*answered = *answered || got.refused == nil
	}
}

// receiveError returns why a stream ended: Send says only that it did.
func receiveError(stream grpc.ClientStream, sent error) error {
	if err := stream.RecvMsg(&discovery.DeltaDiscoveryResponse{}); err != nil {
		return err
	}
	return sent
}

// sendReports sends the newest report, each after the one before was taken.
func (c *Client) sendReports(ctx context.Context, conn *grpc.ClientConn) error {
	stream, err := septumpb.NewNodeServiceClient(conn).Report(ctx)
	if err != nil {
		return fmt.Errorf("open the report stream: %w", err)
	}
	for {
		if report := c.lastReport(); report != nil {
			if err := stream.Send(report); err != nil {
				_, err = stream.Recv()
				return fmt.Errorf("send a report: %w", err)
			}
			if _, err := stream.Recv(); err != nil {
				return fmt.Errorf("send a report: %w", err)
			}
		}
		select {
		case <-c.reported:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
