package envoy

import (
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

const (
	// maxHeaderKB and maxHeaders are above what servers take, so that theirs hold.
	maxHeaderKB = 1024
	maxHeaders  = 4096
	// maxStreams are the requests of one HTTP/2 connection at once.
	maxStreams = 256
	// What one side may send that the other has not taken yet: of one stream and of one
	// connection of HTTP/2, and of one direction of any connection.
	streamWindow     = 1 << 20
	connectionWindow = 4 << 20
	bufferLimit      = 256 << 10
	// headersTimeout is how long the head of a request may take from its first byte on.
	headersTimeout = time.Minute
	// deniedBody is what a refused request gets.
	deniedBody = "Access denied"
	// noHost stands in for the host of an HTTP/1.0 request that names none, which Envoy
	// would refuse. It is under a name that can never exist.
	noHost = "unknown.invalid"
)

// connectionManagerFor is HTTP as a wire would carry it: nothing is added, changed or retried,
// and nothing but a head that does not end is timed out. The path alone is normalised, so that what is judged is what is forwarded.
func connectionManagerFor(routes string, d policy.Direction) *hcmv3.HttpConnectionManager {
	never := durationpb.New(0)
	return &hcmv3.HttpConnectionManager{
		StatPrefix: directionName(d),
		CodecType:  hcmv3.HttpConnectionManager_AUTO,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: routes,
			ConfigSource: &corev3.ConfigSource{
				ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
				ResourceApiVersion:    corev3.ApiVersion_V3,
				// A listener without its rules must not open, however long they take.
				InitialFetchTimeout: never,
			},
		}},
		HttpFilters:         httpFilters(),
		AccessLog:           accessLogFor(d),
		AccessLogOptions:    &hcmv3.HttpConnectionManager_HcmAccessLogOptions{AccessLogFlushInterval: durationpb.New(toldAfter)},
		HttpProtocolOptions: http1Options(),

		Http2ProtocolOptions: http2Options(),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{
			IdleTimeout:     never,
			MaxHeadersCount: wrapperspb.UInt32(maxHeaders),
			// X_A and X-A are one name to many servers. Plain names with an underscore are
			// in use, so only a rule on such a name refuses its doubles: see headerFor.
			HeadersWithUnderscoresAction: corev3.HttpProtocolOptions_ALLOW,
		},
		MaxRequestHeadersKb: wrapperspb.UInt32(maxHeaderKB),

		StreamIdleTimeout:     never,
		StreamFlushTimeout:    never,
		RequestTimeout:        never,
		RequestHeadersTimeout: durationpb.New(headersTimeout),

		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		UseRemoteAddress:           wrapperspb.Bool(false),
		SkipXffAppend:              true,
		GenerateRequestId:          wrapperspb.Bool(false),
		PreserveExternalRequestId:  true,
		Proxy_100Continue:          true,

		EarlyHeaderMutationExtensions: markProto(),

		NormalizePath: wrapperspb.Bool(true),
		MergeSlashes:  true,
		// Escaped slashes are refused by the rules (badPath), so that in audit they are not.
		PathWithEscapedSlashesAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,

		UpgradeConfigs:   upgrades(),
		LocalReplyConfig: localReplies(),
	}
}

// upgrades are the protocols that a request may ask to be upgraded to once it is allowed.
func upgrades() []*hcmv3.HttpConnectionManager_UpgradeConfig {
	var out []*hcmv3.HttpConnectionManager_UpgradeConfig
	for _, name := range []string{"websocket", "CONNECT", "SPDY/3.1", "tcp", "TLS/1.2", "TLS/1.3"} {
		out = append(out, &hcmv3.HttpConnectionManager_UpgradeConfig{UpgradeType: name})
	}
	return out
}

func http1Options() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{
		AcceptHttp_10:         true,
		DefaultHostForHttp_10: noHost,
		EnableTrailers:        true,
		AllowCustomMethods:    true,
		HeaderKeyFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
				StatefulFormatter: &corev3.TypedExtensionConfig{
					Name:        "envoy.http.stateful_header_formatters.preserve_case",
					TypedConfig: anyFor(&preservecasev3.PreserveCaseFormatterConfig{ForwardReasonPhrase: true}),
				},
			},
		},
	}
}

func http2Options() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		AllowConnect:         true,
		MaxConcurrentStreams: wrapperspb.UInt32(maxStreams),

		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}

// localReplies makes a refusal what SEMANTICS says. Only the RBAC filter answers 403 of
// Envoy's own, and only the one that counts 429. For gRPC the text becomes the status message, which must not end in CR LF.
func localReplies() *hcmv3.LocalReplyConfig {
	forbidden, limited := answered(403, "septum.denied_status"), answered(429, "septum.limited_status")
	grpc := anyOf(
		contentType(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "application/grpc"}}),
		contentType(&matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "application/grpc+"}}),
	)
	return &hcmv3.LocalReplyConfig{Mappers: []*hcmv3.ResponseMapper{
		{Filter: allOf(forbidden, grpc), BodyFormatOverride: textFormat(deniedBody)},
		{Filter: forbidden, BodyFormatOverride: textFormat(deniedBody + "\r\n")},
		{Filter: allOf(limited, grpc), BodyFormatOverride: textFormat(limitedBody)},
		{Filter: limited, BodyFormatOverride: textFormat(limitedBody + "\r\n")},
	}}
}

// answered matches answers of Envoy's own with a status.
func answered(status uint32, key string) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_StatusCodeFilter{
		StatusCodeFilter: &accesslogv3.StatusCodeFilter{Comparison: &accesslogv3.ComparisonFilter{
			Op:    accesslogv3.ComparisonFilter_EQ,
			Value: &corev3.RuntimeUInt32{DefaultValue: status, RuntimeKey: key},
		}},
	}}
}

func contentType(m *matcherv3.StringMatcher) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_HeaderFilter{
		HeaderFilter: &accesslogv3.HeaderFilter{Header: &routev3.HeaderMatcher{
			Name:                 contentTypeHeader,
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: m},
		}},
	}}
}

func anyOf(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_OrFilter{
		OrFilter: &accesslogv3.OrFilter{Filters: filters},
	}}
}

func allOf(filters ...*accesslogv3.AccessLogFilter) *accesslogv3.AccessLogFilter {
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_AndFilter{
		AndFilter: &accesslogv3.AndFilter{Filters: filters},
	}}
}

func textFormat(text string) *corev3.SubstitutionFormatString {
	return &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
		TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}},
	}}
}
