package envoy

import (
	"fmt"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	rbacfilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	originalsrcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_src/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

// The marks of Envoy's sockets say which leg of a proxied connection a packet is of.
const (
	MarkIngressDownstream = 1
	MarkIngressUpstream   = 2
	MarkEgressDownstream  = 3
	MarkEgressUpstream    = 4
)

const (
	solSocket = 1
	soMark    = 36
	// SO_BINDTODEVICE keeps sockets of different legs apart that have the same tuple.
	soBindToDevice = 25

	rbacFilter = "envoy.filters.http.rbac"
	// logInterval is how long an access-log entry waits for others at most.
	logInterval = 50 * time.Millisecond
)

func directionName(d policy.Direction) string {
	if d == policy.Egress {
		return "egress"
	}
	return "ingress"
}

// ListenerName is the name of a class's listener and of its route configuration.
func ListenerName(id policy.ClassID) string { return "class/" + string(id) }

// listenerFor returns a class's listener, which has a socket for each family. No rule is in it:
// its bytes stay when rules change.
func listenerFor(id policy.ClassID, d policy.Direction, port uint16) *listenerv3.Listener {
	downstream, upstream := int64(MarkIngressDownstream), uint32(MarkIngressUpstream)
	traffic := corev3.TrafficDirection_INBOUND
	if d == policy.Egress {
		downstream, upstream = MarkEgressDownstream, MarkEgressUpstream
		traffic = corev3.TrafficDirection_OUTBOUND
	}
	name := ListenerName(id)
	return &listenerv3.Listener{
		Name:                name,
		Address:             socketAddress("127.0.0.1", port),
		AdditionalAddresses: []*listenerv3.AdditionalAddress{{Address: socketAddress("::1", port)}},
		// All classes of a direction count together: a class of its own would cost 40 KB of names.
		StatPrefix:       directionName(d),
		TrafficDirection: traffic,
		Transparent:      wrapperspb.Bool(true),
		SocketOptions: []*corev3.SocketOption{{
			Description: "leg", Level: solSocket, Name: soMark,
			Value: &corev3.SocketOption_IntValue{IntValue: downstream},
			State: corev3.SocketOption_STATE_PREBIND,
		}, boundTo(int(downstream))},
		TcpKeepalive:                  keepalive(),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		ListenerFilters: []*listenerv3.ListenerFilter{
			{Name: "envoy.filters.listener.original_dst", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
				TypedConfig: anyFor(&originaldstv3.OriginalDst{})}},
			{Name: "envoy.filters.listener.original_src", ConfigType: &listenerv3.ListenerFilter_TypedConfig{
				TypedConfig: anyFor(&originalsrcv3.OriginalSrc{Mark: upstream})}},
		},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: anyFor(connectionManagerFor(name, d))},
		}}}},
	}
}

// Device is the interface that a leg's sockets are bound to, in the proxy's namespace.
func Device(leg int) string { return fmt.Sprintf("l7p1-%d", leg) }

func boundTo(leg int) *corev3.SocketOption {
	return &corev3.SocketOption{
		Description: "leg's veth", Level: solSocket, Name: soBindToDevice,
		Value: &corev3.SocketOption_BufValue{BufValue: []byte(Device(leg))},
		State: corev3.SocketOption_STATE_PREBIND,
	}
}

func socketAddress(addr string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       addr,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// httpFilters are the filters in the order in which they run. The RBAC filter is empty: its
// rules are in the route configuration.
func httpFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		tokensFilter(),
		{Name: rbacFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: anyFor(&rbacfilterv3.RBAC{})}},
		rateLimitFilter(),
		headerFilter(),
		{Name: "envoy.filters.http.router", ConfigType: &hcmv3.HttpFilter_TypedConfig{
			TypedConfig: anyFor(&routerv3.Router{SuppressEnvoyHeaders: true})}},
	}
}

// accessLogFor sends an entry for each request to the enforcer, over the socket of its ADS.
// The log's name is the direction: each name costs a stream for each worker.
func accessLogFor(d policy.Direction) []*accesslogv3.AccessLog {
	return []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.http_grpc",
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: anyFor(&grpclogv3.HttpGrpcAccessLogConfig{
			CommonConfig: commonLog(d),
			// The trace, what tells gRPC, and how that ended.
			AdditionalRequestHeadersToLog:   []string{traceHeader, contentTypeHeader},
			AdditionalResponseHeadersToLog:  []string{grpcStatusHeader},
			AdditionalResponseTrailersToLog: []string{grpcStatusHeader},
		})},
	}}
}

// commonLog is the way of every log to the enforcer. The states go with its entries.
func commonLog(d policy.Direction, states ...string) *grpclogv3.CommonGrpcAccessLogConfig {
	return &grpclogv3.CommonGrpcAccessLogConfig{
		LogName:                 directionName(d),
		TransportApiVersion:     corev3.ApiVersion_V3,
		GrpcService:             grpcService(logCluster),
		BufferFlushInterval:     durationpb.New(logInterval),
		BufferSizeBytes:         wrapperspb.UInt32(16 << 10),
		FilterStateObjectsToLog: states,
	}
}

func grpcService(cluster string) *corev3.GrpcService {
	return &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
		EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster},
	}}
}
