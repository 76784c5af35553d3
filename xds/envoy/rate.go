package envoy

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	metadatatypev3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/septum-dev/septum/policy"
)

const (
	// rateFilter counts the requests that the RBAC filter has allowed, by the rule that it has named.
	rateFilter = "envoy.filters.http.local_ratelimit"
	// rateKey is the name of the rule in what is counted.
	rateKey = "rule"
	// limitedBody is what a request above a rate gets.
	limitedBody = "Too many requests"
)

// rateLimitFilter is disabled in the listener; routes of classes with rates enable it.
func rateLimitFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: rateFilter, Disabled: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{
		TypedConfig: anyFor(&localv3.LocalRateLimit{StatPrefix: "rate"})}}
}

// ratesOf returns the buckets of a class's rules; nil if none has a rate.
func ratesOf(class policy.Class) *localv3.LocalRateLimit {
	rated := class.Rated()
	if len(rated) == 0 {
		return nil
	}
	always := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}}
	out := &localv3.LocalRateLimit{
		StatPrefix: "rate", FilterEnabled: always, FilterEnforced: always,
		RateLimitedAsResourceExhausted: true,
		// For the requests that other rules have allowed.
		TokenBucket:                     bucketFor(policy.Rate{Requests: math.MaxUint32, Burst: math.MaxUint32, Per: 1e9}),
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
		RateLimits: []*routev3.RateLimit{{Actions: []*routev3.RateLimit_Action{{
			ActionSpecifier: &routev3.RateLimit_Action_Metadata{Metadata: &routev3.RateLimit_Action_MetaData{
				DescriptorKey: rateKey, SkipIfAbsent: true,
				MetadataKey: &metadatatypev3.MetadataKey{Key: rbacFilter, Path: []*metadatatypev3.MetadataKey_PathSegment{{
					Segment: &metadatatypev3.MetadataKey_PathSegment_Key{Key: "enforced_effective_policy_id"}}}},
			}},
		}}}},
	}
	for _, r := range rated {
		out.Descriptors = append(out.Descriptors, &ratelimitv3.LocalRateLimitDescriptor{
			Entries:     []*ratelimitv3.RateLimitDescriptor_Entry{{Key: rateKey, Value: encodeRule(r.ID)}},
			TokenBucket: bucketFor(r.Rate),
		})
	}
	return out
}

func bucketFor(r policy.Rate) *typev3.TokenBucket {
	return &typev3.TokenBucket{MaxTokens: r.Burst, TokensPerFill: wrapperspb.UInt32(r.Requests), FillInterval: durationpb.New(r.Per)}
}

// ratedStage asks the rules with rates one after the other, in their order: which one counts a
// request must not hang on how rules are looked up.
func ratedStage(class policy.Class, next *onMatch) *onMatch {
	var items []entry
	for _, r := range class.Rated() {
		if compiles(r) {
			items = append(items, entry{more: holds(r), then: actionFor(r)})
		}
	}
	if items == nil {
		return next
	}
	return leaf(items, next)
}
