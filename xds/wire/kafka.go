package wire

import (
	"errors"
	"fmt"
	"math"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

func kafka(rules []policy.KafkaRule) []*septumpb.KafkaRule {
	var out []*septumpb.KafkaRule
	for _, r := range rules {
		rule := &septumpb.KafkaRule{Id: Rule(r.ID), Action: uint32(r.Action), Audit: r.Audit, ClientIds: r.ClientIDs}
		for _, k := range r.Keys {
			rule.Keys = append(rule.Keys, int32(k))
		}
		for _, v := range r.Versions {
			rule.Versions = append(rule.Versions, int32(v))
		}
		for _, t := range r.Topics {
			rule.Topics = append(rule.Topics, &septumpb.StringMatch{Kind: uint32(t.Kind), Value: t.Value})
		}
		out = append(out, rule)
	}
	return out
}

func readKafka(in []*septumpb.KafkaRule) ([]policy.KafkaRule, error) {
	if err := atMost("rules", uint64(len(in)), policy.MaxClassRules); err != nil {
		return nil, err
	}
	var out []policy.KafkaRule
	for i, r := range in {
		rule, err := readKafkaRule(r)
		if err != nil {
			return nil, fmt.Errorf("rules[%d]: %w", i, err)
		}
		out = append(out, rule)
	}
	return out, nil
}

func readKafkaRule(in *septumpb.KafkaRule) (policy.KafkaRule, error) {
	id, err := ReadRule(in.GetId())
	out := policy.KafkaRule{ID: id, Action: policy.Action(in.GetAction()), Audit: in.GetAudit()}
	err = errors.Join(err, atMost("action", uint64(in.GetAction()), uint64(policy.Deny)),
		atMost("keys", uint64(len(in.GetKeys())), maxList), atMost("versions", uint64(len(in.GetVersions())), maxList),
		atMost("client_ids", uint64(len(in.GetClientIds())), maxList), atMost("topics", uint64(len(in.GetTopics())), maxList))
	if err != nil {
		return out, err
	}
	for _, k := range in.GetKeys() {
		key, err := int16Of("keys", k)
		if err != nil {
			return out, err
		}
		out.Keys = append(out.Keys, policy.KafkaKey(key))
	}
	for _, v := range in.GetVersions() {
		version, err := int16Of("versions", v)
		if err != nil {
			return out, err
		}
		out.Versions = append(out.Versions, version)
	}
	for _, c := range in.GetClientIds() {
		if err := Text("client_ids", c); err != nil {
			return out, err
		}
		out.ClientIDs = append(out.ClientIDs, c)
	}
	for _, t := range in.GetTopics() {
		match := policy.StringMatch{Kind: policy.MatchKind(t.GetKind()), Value: t.GetValue()}
		if t.GetKind() != uint32(policy.MatchExact) && t.GetKind() != uint32(policy.MatchPrefix) {
			return out, fmt.Errorf("topics: there is no comparison %d of topics", t.GetKind())
		}
		if err := NotEmpty("topics", t.GetValue()); err != nil {
			return out, err
		}
		out.Topics = append(out.Topics, match)
	}
	return out, nil
}

func int16Of(field string, v int32) (int16, error) {
	if v < 0 || v > math.MaxInt16 {
		return 0, fmt.Errorf("%s: %d is not from 0 to %d", field, v, math.MaxInt16)
	}
	return int16(v), nil
}
