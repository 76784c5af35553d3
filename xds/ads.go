package xds

import (
	"context"
	"errors"
	"io"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	delta "github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ads is the aggregated discovery service, for delta streams only.
type ads struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	server *Server
	delta  delta.Server
}

func newADS(ctx context.Context, s *Server) *ads {
	return &ads{server: s, delta: delta.NewServer(ctx, s.caches, nil)}
}

// DeltaAggregatedResources serves one node's stream.
func (a *ads) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	node, err := nodeFrom(stream.Context())
	if err != nil {
		return err
	}
	observer := a.server.config.Observer
	ctx, session := a.server.sessions.begin(stream.Context(), node, "xds", observer.Connected, observer.Disconnected)
	defer session.close()
	select {
	case <-a.server.published:
	case <-ctx.Done():
		return status.Error(codes.Unavailable, "nothing has been published yet")
	}
	wrapped := &adsStream{AggregatedDiscoveryService_DeltaAggregatedResourcesServer: stream, ctx: ctx, node: node, observer: observer}
	if wrapped.first, err = wrapped.receive(); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	wrapped.features = knownFeatures(wrapped.first.GetNode().GetClientFeatures())
	a.server.caches.hold(node, wrapped.features)
	defer a.server.caches.release(node, wrapped.features)
	err = a.delta.DeltaStreamHandler(wrapped, resource.AnyType)
	if refused := wrapped.refused.Load(); refused != nil {
		return *refused
	}
	if err == nil && ctx.Err() != nil {
		return status.Error(codes.Aborted, "the stream was replaced by a newer one, or the node was removed")
	}
	return err
}

// adsStream lets a node ask for its own resources only, whatever it says it is.
type adsStream struct {
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	ctx      context.Context
	node     string
	observer Observer
	refused  atomic.Pointer[error]
	// first is the first request, until Recv has returned it; features are those that it names.
	first    *discovery.DeltaDiscoveryRequest
	features []string
}

func (s *adsStream) Context() context.Context { return s.ctx }

// Recv returns the next request, in the node's name and with its features.
func (s *adsStream) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	request := s.first
	if s.first = nil; request == nil {
		var err error
		if request, err = s.receive(); err != nil {
			return nil, err
		}
	}
	request.Node = &corev3.Node{Id: s.node, ClientFeatures: s.features}
	return request, nil
}

// receive returns the next request that the node may make. After one that it may not make
// the stream ends with the reason.
func (s *adsStream) receive() (*discovery.DeltaDiscoveryRequest, error) {
	type received struct {
		request *discovery.DeltaDiscoveryRequest
		err     error
	}
	// The transport's Recv knows only the stream's own context, which a session that is
	// ended early does not cancel. The goroutine ends with the stream.
	ch := make(chan received, 1)
	go func() {
		request, err := s.AggregatedDiscoveryService_DeltaAggregatedResourcesServer.Recv()
		ch <- received{request, err}
	}()
	var r received
	select {
	case r = <-ch:
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
	if r.err != nil {
		if !errors.Is(r.err, io.EOF) {
			s.refused.CompareAndSwap(nil, &r.err)
		}
		return nil, r.err
	}
	if err := s.check(r.request); err != nil {
		s.refused.CompareAndSwap(nil, &err)
		return nil, err
	}
	if r.request.GetResponseNonce() != "" {
		var err error
		if detail := r.request.GetErrorDetail(); detail != nil {
			err = status.ErrorProto(detail)
		}
		s.observer.Acked(s.node, r.request.GetTypeUrl(), err)
	}
	return r.request, nil
}

func (s *adsStream) check(r *discovery.DeltaDiscoveryRequest) error {
	if id := r.GetNode().GetId(); id != "" && id != s.node {
		return status.Errorf(codes.PermissionDenied, "the certificate is node %q's, and the request asks for node %q", s.node, id)
	}
	if url := r.GetTypeUrl(); url != NodeType && url != ClusterType {
		return status.Errorf(codes.InvalidArgument, "there are no resources of type %q", url)
	}
	if len(r.GetResourceNamesUnsubscribe()) > 0 || len(r.GetResourceNamesSubscribe()) > 1 ||
		len(r.GetResourceNamesSubscribe()) == 1 && r.GetResourceNamesSubscribe()[0] != "*" {
		return status.Error(codes.InvalidArgument, "only all resources of a type can be subscribed to")
	}
	return nil
}

func (s *adsStream) Send(response *discovery.DeltaDiscoveryResponse) error {
	s.observer.Pushed(s.node, response.GetTypeUrl(), len(response.GetResources())+len(response.GetRemovedResources()))
	return s.AggregatedDiscoveryService_DeltaAggregatedResourcesServer.Send(response)
}
