package ingest

import (
	"math"
	"strconv"
	"strings"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

// The longest names: Kafka's own limit of a topic, and Cilium's.
const (
	maxTopic       = 249
	maxCiliumTopic = 255
)

// ciliumKafka converts rules as Cilium had them until 1.19. One that is wrong is left out.
func (s *scope) ciliumKafka(in []ciliumv2.KafkaRule, path string) *policy.Kafka {
	out := &policy.Kafka{}
	for i := range in {
		r := policy.KafkaRule{ID: policy.RuleID{Policy: s.ref, Path: indexed(path, i)}}
		if s.ciliumKafkaRule(&r, &in[i]) && !s.unknownIn(r.ID.Path) {
			out.Rules = append(out.Rules, r)
		}
	}
	return out
}

func (s *scope) ciliumKafkaRule(r *policy.KafkaRule, in *ciliumv2.KafkaRule) (good bool) {
	good = true
	wrong := func(field, format string, args ...any) {
		s.invalid(r.ID.Path+field, format, args...)
		good = false
	}
	if in.Role != "" && in.APIKey != "" {
		wrong(".apiKey", "role and apiKey cannot be together; a role is all keys that it needs")
	}
	if in.Role != "" {
		if r.Keys = policy.KafkaRole(strings.ToLower(in.Role)).Keys(); r.Keys == nil {
			wrong(".role", "%q is neither produce nor consume", in.Role)
		}
	}
	if in.APIKey != "" {
		key, ok := policy.KafkaKeyOf(in.APIKey)
		if !ok {
			wrong(".apiKey", "%q is no kind of Kafka request; they are called produce, fetch, metadata and so on", in.APIKey)
		}
		r.Keys = append(r.Keys, key)
	}
	if in.APIVersion != "" {
		n, err := strconv.ParseUint(in.APIVersion, 10, 15)
		if err != nil {
			wrong(".apiVersion", "%q is not a number from 0 to %d", in.APIVersion, math.MaxInt16)
		}
		r.Versions = append(r.Versions, int16(n))
	}
	if in.ClientID != "" {
		r.ClientIDs = []string{in.ClientID}
	}
	if in.Topic != "" {
		if text := wrongTopic(in.Topic, maxCiliumTopic); text != "" {
			wrong(".topic", "%q %s", in.Topic, text)
		}
		r.Topics = []policy.StringMatch{{Kind: policy.MatchExact, Value: in.Topic}}
	}
	return good
}

// nativeKafka converts entries. One that is wrong allows nothing, or denies everything.
func (s *scope) nativeKafka(in []v1alpha1.KafkaRule, path string) *policy.Kafka {
	out := &policy.Kafka{}
	for i := range in {
		e := &in[i]
		r := policy.KafkaRule{ID: policy.RuleID{Policy: s.ref, Path: indexed(path, i), Name: e.Name}}
		good := !s.unknownIn(r.ID.Path)
		switch e.Action {
		case "", v1alpha1.ActionAllow:
		case v1alpha1.ActionDeny:
			r.Action = policy.Deny
		default:
			s.invalid(r.ID.Path+".action", "%q is neither Allow nor Deny", e.Action)
			r.Action, good = policy.Deny, false
		}
		good = s.nativeKafkaKeys(&r, e) && good
		good = s.nativeKafkaTopics(&r, e) && good
		r.ClientIDs = e.ClientIDs
		switch {
		case good:
			out.Rules = append(out.Rules, r)
		case r.Action == policy.Deny:
			out.Rules = append(out.Rules, policy.KafkaRule{ID: r.ID, Action: policy.Deny})
		}
	}
	return out
}

func (s *scope) nativeKafkaKeys(r *policy.KafkaRule, in *v1alpha1.KafkaRule) (good bool) {
	good = true
	wrong := func(field, format string, args ...any) {
		s.invalid(r.ID.Path+field, format, args...)
		good = false
	}
	if in.Role != "" {
		if r.Keys = policy.KafkaRole(in.Role).Keys(); r.Keys == nil {
			wrong(".role", "%q is neither produce nor consume", in.Role)
		}
		if in.APIKeys != nil {
			wrong(".apiKeys", "role and apiKeys cannot be together; a role is all keys that it needs")
		}
	}
	for i, name := range in.APIKeys {
		key, ok := policy.KafkaKeyOf(string(name))
		if !ok {
			wrong(indexed(".apiKeys", i), "%q is no kind of Kafka request; they are called Produce, Fetch, Metadata and so on", name)
		}
		r.Keys = append(r.Keys, key)
	}
	for i, v := range in.APIVersions {
		if v < 0 || v > math.MaxInt16 {
			wrong(indexed(".apiVersions", i), "%d is not from 0 to %d", v, math.MaxInt16)
		}
		r.Versions = append(r.Versions, int16(v))
	}
	return good
}

func (s *scope) nativeKafkaTopics(r *policy.KafkaRule, in *v1alpha1.KafkaRule) (good bool) {
	good = true
	for i, t := range in.Topics {
		at := indexed(r.ID.Path+".topics", i)
		match := policy.StringMatch{Kind: policy.MatchExact, Value: t.Exact}
		if t.Prefix != "" {
			match = policy.StringMatch{Kind: policy.MatchPrefix, Value: t.Prefix}
		}
		if (t.Exact == "") == (t.Prefix == "") {
			s.invalid(at, "a topic is either exact or prefix")
			good = false
		} else if text := wrongTopic(match.Value, maxTopic); text != "" {
			s.invalid(at, "%q %s", match.Value, text)
			good = false
		}
		r.Topics = append(r.Topics, match)
	}
	return good
}

// wrongTopic says what is wrong with a topic's name; "" if nothing is.
func wrongTopic(name string, limit int) string {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"
	switch {
	case len(name) > limit:
		return "is longer than " + strconv.Itoa(limit) + " bytes"
	case strings.Trim(name, letters) != "":
		return "is no topic's name: these are written in letters, digits, dots, dashes and underscores, and there are no patterns"
	}
	return ""
}

// auditKafka makes a Kafka part report what it refuses.
func auditKafka(k *policy.Kafka) {
	k.Audit = true
	for i := range k.Rules {
		k.Rules[i].Audit = k.Rules[i].Action == policy.Deny
	}
}
