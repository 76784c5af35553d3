package envoy

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overloadv3 "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	connectionsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	heapv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/fixed_heap/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
)

const (
	// logCluster is the enforcer: ADS and the access log on one socket.
	logCluster = "septum"
	// regexSize is the largest RE2 program that Envoy takes; its own limit is 100, which real
	// expressions exceed. Ingest refuses what is larger than its own, lower limit.
	regexSize = 100000

	// requestsAtOnce are the requests of a connection that a worker takes in one turn.
	requestsAtOnce = 8
	// prematureResets is how many streams a connection may have before it matters how many
	// of them its client has reset within a second.
	prematureResets = 500
	// accountFrom is the power of two of the bytes from which on a stream's buffers are
	// accounted, so that the largest can be reset.
	accountFrom = 17

	defaultHeap        = 1 << 30
	defaultConnections = 100000
)

// BootstrapConfig is what Envoy must know before it has asked.
type BootstrapConfig struct {
	// Node is the node's name.
	Node string
	// XDSSocket is the enforcer's unix socket, as Envoy sees it.
	XDSSocket string
	// AdminSocket is where Envoy makes its own admin socket, for its user and group: the enforcer,
	// which is in the group, reads statistics there. There is no admin port.
	AdminSocket string
	// MaxHeapBytes is the heap at which Envoy refuses new requests; 0 is 1 GiB.
	MaxHeapBytes uint64
	// MaxConnections is the number of proxied connections at once; 0 is 100,000.
	MaxConnections int64
}

// Bootstrap returns Envoy's bootstrap file as JSON.
func Bootstrap(c BootstrapConfig) ([]byte, error) {
	if c.Node == "" || c.XDSSocket == "" || c.AdminSocket == "" {
		return nil, errors.New("envoy bootstrap: node, xDS socket and admin socket are needed")
	}
	if c.MaxHeapBytes == 0 {
		c.MaxHeapBytes = defaultHeap
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultConnections
	}
	ads := &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
	boot := &bootstrapv3.Bootstrap{
		Node:  &corev3.Node{Id: c.Node, Cluster: "septum"},
		Admin: &bootstrapv3.Admin{Address: pipe(c.AdminSocket, 0o660)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Clusters: []*clusterv3.Cluster{enforcerCluster(c.XDSSocket)},
		},
		DynamicResources: &bootstrapv3.Bootstrap_DynamicResources{
			LdsConfig: ads,
			CdsConfig: ads,
			AdsConfig: &corev3.ApiConfigSource{
				ApiType:             corev3.ApiConfigSource_DELTA_GRPC,
				TransportApiVersion: corev3.ApiVersion_V3,
				GrpcServices:        []*corev3.GrpcService{stateService()},
			},
		},
		LayeredRuntime: &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
			Name: "septum",
			LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
				"re2.max_program_size.error_level": structpb.NewNumberValue(regexSize),
				"re2.max_program_size.warn_level":  structpb.NewNumberValue(regexSize),
				// What one connection may have done before others have their turn.
				"http.max_requests_per_io_cycle": structpb.NewNumberValue(requestsAtOnce),
				// A client that takes back most of its streams at once loses its connection.
				"overload.premature_reset_total_stream_count":          structpb.NewNumberValue(prematureResets),
				"overload.premature_reset_min_stream_lifetime_seconds": structpb.NewNumberValue(1),
			}}},
		}}},
		OverloadManager: overloadFor(c),
		// A worker that hangs holds its share of the connections: Envoy ends itself then, and
		// the launcher starts it again.
		Watchdogs:   &bootstrapv3.Watchdogs{WorkerWatchdog: &bootstrapv3.Watchdog{KillTimeout: durationpb.New(workerHangs)}},
		StatsConfig: statsFor(),
	}
	out, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(boot)
	if err != nil {
		return nil, fmt.Errorf("write envoy bootstrap: %w", err)
	}
	return out, nil
}

// workerHangs is how long one of Envoy's workers may be busy with one thing.
const workerHangs = 30 * time.Second

// stateService is the enforcer's ADS. Envoy looks for an enforcer that has been away every
// second: by itself it would come to wait for half a minute, and refuse new classes meanwhile.
func stateService() *corev3.GrpcService {
	service := grpcService(logCluster)
	service.GetEnvoyGrpc().RetryPolicy = &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
		BaseInterval: durationpb.New(100 * time.Millisecond), MaxInterval: durationpb.New(time.Second),
	}}
	return service
}

// Args returns Envoy's command line. The base id is chosen by Envoy itself, since two
// Envoys of one machine (or of two users) may not have the same one. Connections of a
// class that goes away have a second: no rule judges them any more.
func Args(bootstrap string, concurrency int) []string {
	return []string{
		"--config-path", bootstrap,
		"--use-dynamic-base-id",
		"--concurrency", strconv.Itoa(max(concurrency, 1)),
		"--drain-time-s", "1",
		"--log-level", "warning",
		// Each listener would warn of a field that is marked as work in progress.
		"--component-log-level", "misc:error",
	}
}

func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

func enforcerCluster(socket string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 logCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(time.Second),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: logCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: pipe(socket, 0)}},
			}}}},
		},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": anyFor(&httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						},
					},
				},
			}),
		},
	}
}

// overloadFor bounds what clients can make Envoy hold; what is above it is refused.
func overloadFor(c BootstrapConfig) *overloadv3.OverloadManager {
	const heap = "envoy.resource_monitors.fixed_heap"
	action := func(name string, at float64) *overloadv3.OverloadAction {
		return &overloadv3.OverloadAction{Name: name, Triggers: []*overloadv3.Trigger{{
			Name:         heap,
			TriggerOneof: &overloadv3.Trigger_Threshold{Threshold: &overloadv3.ThresholdTrigger{Value: at}},
		}}}
	}
	largest := &overloadv3.OverloadAction{Name: "envoy.overload_actions.reset_high_memory_stream", Triggers: []*overloadv3.Trigger{{
		Name:         heap,
		TriggerOneof: &overloadv3.Trigger_Scaled{Scaled: &overloadv3.ScaledTrigger{ScalingThreshold: 0.80, SaturationThreshold: 0.92}},
	}}}
	return &overloadv3.OverloadManager{
		BufferFactoryConfig: &overloadv3.BufferFactoryConfig{MinimumAccountToTrackPowerOfTwo: accountFrom},
		RefreshInterval:     durationpb.New(250 * time.Millisecond),
		ResourceMonitors: []*overloadv3.ResourceMonitor{
			{Name: heap, ConfigType: &overloadv3.ResourceMonitor_TypedConfig{
				TypedConfig: anyFor(&heapv3.FixedHeapConfig{MaxHeapSizeBytes: c.MaxHeapBytes})}},
			{Name: "envoy.resource_monitors.global_downstream_max_connections", ConfigType: &overloadv3.ResourceMonitor_TypedConfig{
				TypedConfig: anyFor(&connectionsv3.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: c.MaxConnections})}},
		},
		Actions: []*overloadv3.OverloadAction{
			// First who holds most loses it; then everybody's connections end with their
			// request; only then new requests and connections are refused.
			largest,
			action("envoy.overload_actions.shrink_heap", 0.9),
			action("envoy.overload_actions.disable_http_keepalive", 0.93),
			action("envoy.overload_actions.stop_accepting_requests", 0.95),
			action("envoy.overload_actions.stop_accepting_connections", 0.98),
		},
	}
}

// statsFor keeps the few statistics that are looked at: each costs memory for each worker.
func statsFor() *metricsv3.StatsConfig {
	var keep []*matcherv3.StringMatcher
	for _, p := range []string{"server.", "listener_manager.", "cluster_manager.", "overload.",
		"http.ingress.downstream_", "http.egress.downstream_", "http.ingress.rbac.", "http.egress.rbac.",
		"listener.ingress.downstream_cx_", "listener.egress.downstream_cx_", "cluster.original-"} {
		keep = append(keep, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: p}})
	}
	return &metricsv3.StatsConfig{StatsMatcher: &metricsv3.StatsMatcher{
		StatsMatcher: &metricsv3.StatsMatcher_InclusionList{InclusionList: &matcherv3.ListStringMatcher{Patterns: keep}},
	}}
}
