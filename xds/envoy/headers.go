package envoy

import (
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	matchingv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	setmetadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/septum-dev/septum/policy"
)

// headersFilter changes the headers of requests that are allowed. Its name is also that of
// the metadata which tells the access log what did not match.
const headersFilter = "septum.headers"

// headerFilter is disabled in the listener; routes of classes that change headers enable it.
func headerFilter() *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: headersFilter, Disabled: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{
		TypedConfig: anyFor(&matchingv3.ExtensionWithMatcher{
			ExtensionConfig: extension("composite", &compositev3.Composite{}),
			XdsMatcher:      &matcher{MatcherType: fieldMatcher(not(anyMethod()), run(changesFor(policy.HeaderMatch{})))},
		}),
	}}
}

// headerChanges returns what a class's rules do to headers that do not match; nil if there is
// nothing to do. The filter runs one action, so there is one for each set of changes that
// can come together: Resources bounds them.
func headerChanges(class policy.Class) *matchingv3.ExtensionWithMatcherPerRoute {
	actions := class.HeaderActions()
	if len(actions) == 0 {
		return nil
	}
	var when []*predicate
	for _, h := range actions {
		var rules []*predicate
		for _, rule := range class.HTTP {
			if rule.Action == policy.Allow && slices.Contains(rule.Headers, h) && compiles(rule) {
				rules = append(rules, holds(rule))
			}
		}
		if rules == nil {
			rules = append(rules, not(anyMethod()))
		}
		when = append(when, and(or(rules...), not(headerFor(h, policy.Allow))))
	}
	return &matchingv3.ExtensionWithMatcherPerRoute{XdsMatcher: changeTree(when, actions, nil).GetMatcher()}
}

// holds is what must hold for a rule.
func holds(rule policy.HTTPRule) *predicate {
	if rule.Path.Kind == policy.MatchAny {
		return and(append(conditionsFor(rule), anyMethod())...)
	}
	return and(append(conditionsFor(rule), headerMatches(pathHeader, plainText(rule.Path)))...)
}

// changeTree asks one predicate after the other, and ends in what those that held are to
// change; nil for nothing.
func changeTree(when []*predicate, actions []policy.HeaderMatch, chosen []policy.HeaderMatch) *onMatch {
	if len(when) == 0 {
		var steps []*corev3.TypedExtensionConfig
		for _, h := range chosen {
			steps = append(steps, changesFor(h)...)
		}
		if steps == nil {
			return nil
		}
		return run(steps)
	}
	yes := changeTree(when[1:], actions[1:], append(slices.Clone(chosen), actions[0]))
	return nest(&matcher{
		MatcherType: fieldMatcher(when[0], yes),
		OnNoMatch:   changeTree(when[1:], actions[1:], chosen),
	})
}

// changesFor names the header for the access log, and changes it.
func changesFor(h policy.HeaderMatch) []*corev3.TypedExtensionConfig {
	steps := []*corev3.TypedExtensionConfig{extension("metadata", &setmetadatav3.Config{Metadata: []*setmetadatav3.Metadata{{
		MetadataNamespace: headersFilter,
		AllowOverwrite:    true,
		Value:             &structpb.Struct{Fields: map[string]*structpb.Value{valid(h.Name): structpb.NewBoolValue(true)}},
	}}})}
	var changes []*mutationv3.HeaderMutation
	if h.Mismatch == policy.MismatchDelete || h.Mismatch == policy.MismatchReplace {
		names, _ := spellingsOf(h.Name)
		for _, name := range append(names, h.Name) {
			changes = append(changes, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Remove{Remove: valid(name)}})
		}
	}
	if h.Mismatch == policy.MismatchAdd || h.Mismatch == policy.MismatchReplace {
		changes = append(changes, &mutationv3.HeaderMutation{Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			// A value is a format, in which a percent sign is written twice.
			Header:         &corev3.HeaderValue{Key: valid(h.Name), Value: formatText(valid(h.Value.Value))},
			AppendAction:   corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
			KeepEmptyValue: true,
		}}})
	}
	if changes == nil {
		return steps
	}
	return append(steps, extension("mutation", &headermutationv3.HeaderMutation{
		Mutations: &headermutationv3.Mutations{RequestMutations: changes},
	}))
}

// formatText writes a text where Envoy takes a format.
func formatText(text string) string { return strings.ReplaceAll(text, "%", "%%") }

func fieldMatcher(when *predicate, then *onMatch) *xdsmatcherv3.Matcher_MatcherList_ {
	return &xdsmatcherv3.Matcher_MatcherList_{MatcherList: &xdsmatcherv3.Matcher_MatcherList{
		Matchers: []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher{{Predicate: when, OnMatch: then}},
	}}
}

func run(filters []*corev3.TypedExtensionConfig) *onMatch {
	return &onMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{Action: &xdscorev3.TypedExtensionConfig{
		Name: "run", TypedConfig: anyFor(&compositev3.ExecuteFilterAction{
			FilterChain: &compositev3.FilterChainConfiguration{TypedConfig: filters},
		}),
	}}}
}

func extension(name string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: anyFor(config)}
}
