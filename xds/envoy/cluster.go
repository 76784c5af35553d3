package envoy

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

const (
	// connectTimeout is long, as the kernel's is: the client's own limit shall end a connect.
	connectTimeout = 60 * time.Second
	// poolIdle ends an upstream connection that no request uses. It is below any server's
	// own keep-alive limit that is in use, so that a request seldom meets a connection
	// which the server is just closing; the client would get a 503 then, as nothing is retried.
	poolIdle = time.Second
	// unlimited is what circuit breakers are set to: the server's own limits hold.
	unlimited = 1 << 30
)

// clusterName is the name of the cluster that goes to a connection's own destination.
func clusterName(d policy.Direction) string { return "original-" + directionName(d) }

// clusterFor returns the cluster of one direction. They are two so that no upstream
// connection of one leg's mark can serve the other.
func clusterFor(d policy.Direction) *clusterv3.Cluster {
	limit, leg := wrapperspb.UInt32(unlimited), MarkIngressUpstream
	if d == policy.Egress {
		leg = MarkEgressUpstream
	}
	return &clusterv3.Cluster{
		Name:                          clusterName(d),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
		LbPolicy:                      clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:                durationpb.New(connectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		// Behind one client address there can be several clients (SNAT). Without the proxy
		// they would share no connection to the server, so they share none with it.
		ConnectionPoolPerDownstreamConnection: true,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: limit, MaxPendingRequests: limit, MaxRequests: limit, MaxRetries: wrapperspb.UInt32(0),
		}}},
		// The listener's original_src adds the source address and the mark.
		UpstreamBindConfig:        &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{boundTo(leg)}},
		UpstreamConnectionOptions: &clusterv3.UpstreamConnectionOptions{TcpKeepalive: keepalive()},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyFor(&httpv3.HttpProtocolOptions{
				CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
					IdleTimeout:          durationpb.New(poolIdle),
					MaxHeadersCount:      wrapperspb.UInt32(maxHeaders),
					MaxResponseHeadersKb: wrapperspb.UInt32(maxHeaderKB),
				},
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
					UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
						HttpProtocolOptions:  http1Options(),
						Http2ProtocolOptions: http2Options(),
					},
				},
			}),
		},
	}
}

// keepalive finds a dead peer in time: there are no idle timeouts that would.
func keepalive() *corev3.TcpKeepalive {
	return &corev3.TcpKeepalive{
		KeepaliveTime:     wrapperspb.UInt32(300),
		KeepaliveInterval: wrapperspb.UInt32(75),
		KeepaliveProbes:   wrapperspb.UInt32(9),
	}
}
