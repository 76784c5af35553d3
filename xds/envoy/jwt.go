package envoy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	typematcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/septum-dev/septum/policy"
)

const (
	// tokenFilter verifies the tokens that a class's rules ask for. It refuses nothing: what is
	// in a valid token becomes metadata, which the rules look at.
	tokenFilter = "septum.tokens"
	// tokenMetadata is where Envoy puts what is in valid tokens, by the name of their source.
	tokenMetadata = "envoy.filters.http.jwt_authn"
	// clockSkew is how far, in seconds, the clocks of an issuer and a node may be apart.
	clockSkew = 60

	bearer        = "Bearer "
	authorization = "authorization"
)

// tokensFilter is disabled in the listener; routes of classes that ask for tokens enable
// it, and hold the issuers and keys: new keys act on the next request of open connections.
func tokensFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: tokenFilter, Disabled: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{
		TypedConfig: anyFor(&matchingv3.ExtensionWithMatcher{
			ExtensionConfig: extension("composite", &compositev3.Composite{}),
			XdsMatcher:      &matcher{MatcherType: fieldMatcher(not(anyMethod()), run(changesFor(policy.HeaderMatch{})))},
		}),
	}}
}

// tokensOf returns how a class's tokens are verified; nil if its rules ask for none.
func tokensOf(class policy.Class) *matchingv3.ExtensionWithMatcherPerRoute {
	sources := class.TokenSources()
	if len(sources) == 0 {
		return nil
	}
	config := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}}
	var each []*jwtv3.JwtRequirement
	var carried []*predicate
	for _, s := range sources {
		name := sourceName(s)
		config.Providers[name] = providerFor(s, name)
		each = append(each, ifThere(name))
		carried = append(carried, headerMatches(tokenHeader(s), anyText()))
	}
	all := each[0]
	if len(each) > 1 {
		all = &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAll{
			RequiresAll: &jwtv3.JwtRequirementAndList{Requirements: each}}}
	}
	for _, match := range []*routev3.RouteMatch{
		{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}},
		{PathSpecifier: &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}},
	} {
		config.Rules = append(config.Rules, &jwtv3.RequirementRule{Match: match,
			RequirementType: &jwtv3.RequirementRule_Requires{Requires: all}})
	}
	return &matchingv3.ExtensionWithMatcherPerRoute{XdsMatcher: &matcher{
		MatcherType: fieldMatcher(or(carried...), run([]*corev3.TypedExtensionConfig{extension("tokens", config)})),
	}}
}

// ifThere verifies a token of the source, and lets the request go on whatever comes of it.
func ifThere(name string) *jwtv3.JwtRequirement {
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{RequiresAny: &jwtv3.JwtRequirementOrList{
		Requirements: []*jwtv3.JwtRequirement{
			{RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: name}},
			{RequiresType: &jwtv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}}},
		}}}}
}

// providerFor: a token needs an end, and goes on to the server.
func providerFor(s policy.TokenSource, name string) *jwtv3.JwtProvider {
	from := &jwtv3.JwtHeader{Name: authorization, ValuePrefix: bearer}
	if s.Header != "" {
		from = &jwtv3.JwtHeader{Name: s.Header}
	}
	return &jwtv3.JwtProvider{
		Issuer:            valid(s.Issuer),
		RequireExpiration: true,
		Forward:           true,
		FromHeaders:       []*jwtv3.JwtHeader{from},
		PayloadInMetadata: name,
		ClockSkewSeconds:  clockSkew,
		JwksSourceSpecifier: &jwtv3.JwtProvider_LocalJwks{LocalJwks: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: valid(s.Keys)}}},
	}
}

// sourceName names a source, the same on every node and in every class.
func sourceName(s policy.TokenSource) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%q", []string{s.Issuer, s.Keys, s.Header}))
	return hex.EncodeToString(h[:10])
}

func tokenHeader(s policy.TokenSource) string {
	if s.Header == "" {
		return authorization
	}
	return s.Header
}

// tokenFor returns what must hold for a rule's token: the header is there once and is nothing
// but a token, so that the server can find no other in it, and Envoy has found it valid.
func tokenFor(j *policy.JWT) *predicate {
	const token = `[-_0-9A-Za-z]+\.[-_0-9A-Za-z]+\.[-_0-9A-Za-z]+`
	h := policy.HeaderMatch{Name: tokenHeader(j.TokenSource), Value: policy.StringMatch{Kind: policy.MatchRegex, Value: token}}
	if j.Header == "" {
		h.Value.Value = bearer + token
	}
	source := sourceName(j.TokenSource)
	out := []*predicate{
		headerFor(h, policy.Allow),
		metadataMatches(oneText(policy.StringMatch{Kind: policy.MatchExact, Value: j.Issuer}), source, "iss"),
	}
	for _, c := range j.Claims {
		out = append(out, claimFor(c, source))
	}
	return and(out...)
}

// claimFor: a string, or a string in a list.
func claimFor(c policy.Claim, source string) *predicate {
	var either []*typematcherv3.ValueMatcher
	for _, v := range c.Values {
		either = append(either, oneText(v), &typematcherv3.ValueMatcher{MatchPattern: &typematcherv3.ValueMatcher_ListMatch{
			ListMatch: &typematcherv3.ListMatcher{MatchPattern: &typematcherv3.ListMatcher_OneOf{OneOf: oneText(v)}}}})
	}
	if len(either) == 0 {
		return not(anyMethod())
	}
	return metadataMatches(&typematcherv3.ValueMatcher{MatchPattern: &typematcherv3.ValueMatcher_OrMatch{
		OrMatch: &typematcherv3.OrMatcher{ValueMatchers: either}}}, append([]string{source}, c.Path...)...)
}

// oneText compares one string; it matches no value of another type.
func oneText(m policy.StringMatch) *typematcherv3.ValueMatcher {
	out := &typematcherv3.StringMatcher{}
	switch m.Kind {
	case policy.MatchExact:
		out.MatchPattern = &typematcherv3.StringMatcher_Exact{Exact: valid(m.Value)}
	case policy.MatchPrefix:
		out.MatchPattern = wholeText(regexp.QuoteMeta(m.Value) + `\C*`)
	case policy.MatchRegex:
		out.MatchPattern = wholeText(m.Value)
	default:
		out.MatchPattern = wholeText(`\C*`)
	}
	return &typematcherv3.ValueMatcher{MatchPattern: &typematcherv3.ValueMatcher_StringMatch{StringMatch: out}}
}

func wholeText(expression string) *typematcherv3.StringMatcher_SafeRegex {
	return &typematcherv3.StringMatcher_SafeRegex{SafeRegex: &typematcherv3.RegexMatcher{Regex: valid(expression)}}
}

// metadataMatches compares what the path leads to in what tokens said; nothing there matches nothing.
func metadataMatches(value *typematcherv3.ValueMatcher, path ...string) *predicate {
	input := &networkv3.DynamicMetadataInput{Filter: tokenMetadata}
	for _, key := range path {
		input.Path = append(input.Path, &networkv3.DynamicMetadataInput_PathSegment{
			Segment: &networkv3.DynamicMetadataInput_PathSegment_Key{Key: valid(key)}})
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: &xdscorev3.TypedExtensionConfig{Name: "envoy.matching.inputs.dynamic_metadata", TypedConfig: anyFor(input)},
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{CustomMatch: &xdscorev3.TypedExtensionConfig{
				Name: "envoy.matching.matchers.metadata_matcher", TypedConfig: anyFor(&metadatav3.Metadata{Value: value})}},
		},
	}}
}
