package policy

import (
	"slices"
	"strings"
)

// Kafka allows the requests that match one of its rules, topic by topic. No rules allow
// nothing: ingest makes `kafka: []` an L4 rule.
type Kafka struct {
	Rules []KafkaRule
	// Audit lets through, and reports, what the rules refuse. The deny rules in it have
	// Audit too.
	Audit bool
}

// KafkaRule holds when every condition holds.
type KafkaRule struct {
	// ID.Path is "spec.ingress[0].toPorts[0].rules.kafka[0]".
	ID     RuleID
	Action Action
	// Audit is true for the rules of a policy or rule that audits: a deny rule reports what it
	// would have refused.
	Audit bool
	// Keys are API keys, alternatives; none is every key. A role is its keys.
	Keys []KafkaKey
	// Versions are versions of the API key's message, alternatives; none is every version.
	Versions []int16
	// ClientIDs are alternatives, compared by case; none is every client. A client calls
	// itself what it likes.
	ClientIDs []string
	// Topics are alternatives of the kinds MatchExact and MatchPrefix; none is every topic.
	Topics []StringMatch
}

// KafkaRequest is one request as the proxy reads it, for one of its topics.
type KafkaRequest struct {
	Key      KafkaKey
	Version  int16
	ClientID string
	// Topic is "" for the request as a whole: one whose key has no topics, or the question
	// whether some topic could be allowed.
	Topic string
}

// DecideKafka judges a request for one topic by a class's rules: denies first, then allows.
// What a client needs to be understood and known at all is always allowed (SEMANTICS 28).
func (c Class) DecideKafka(req KafkaRequest) Decision {
	if req.Key.always() {
		return c.audited(Decision{Verdict: Forwarded, Reason: "every client may ask this"})
	}
	return c.byRules(len(c.Kafka), func(i int) judge {
		r := c.Kafka[i]
		return judge{r.ID, r.Action, r.Audit, func() bool { return r.holds(req) }}
	})
}

// rest is what becomes of a request that no rule is about.
func (c Class) rest() Decision {
	if c.AllowAll != nil && c.AuditRest {
		return refuse(true, *c.AllowAll, "no rule matched")
	}
	if c.AllowAll != nil {
		return Decision{Verdict: Forwarded, Rule: *c.AllowAll, Reason: "allowed by rule"}
	}
	return refuse(c.Audit, RuleID{}, "no rule matched")
}

func (r KafkaRule) holds(req KafkaRequest) bool {
	return (len(r.Keys) == 0 || slices.Contains(r.Keys, req.Key)) &&
		(len(r.Versions) == 0 || slices.Contains(r.Versions, req.Version)) &&
		(len(r.ClientIDs) == 0 || slices.Contains(r.ClientIDs, req.ClientID)) &&
		(len(r.Topics) == 0 || r.topicHolds(req))
}

// topicHolds judges the topic, where the request has one. A request that has none is judged
// by its key (SEMANTICS 29): a rule for some topics allows it, for a consumer of these topics
// needs its group, and does not deny it. What an administrator does to everything, or to
// topics where the proxy does not look, could be about any topic: a rule for some topics does
// not allow it, and denies it.
func (r KafkaRule) topicHolds(req KafkaRequest) bool {
	if req.Topic == "" {
		return (r.Action == Deny) == req.Key.broad()
	}
	return slices.ContainsFunc(r.Topics, func(m StringMatch) bool {
		switch m.Kind {
		case MatchExact:
			return req.Topic == m.Value
		case MatchPrefix:
			return strings.HasPrefix(req.Topic, m.Value)
		case MatchAny, MatchRegex:
		}
		return false
	})
}

// KafkaEvent is the Kafka part of an Event: a request, or one topic of it.
type KafkaEvent struct {
	Key         KafkaKey
	Version     int16
	Correlation int32
	ClientID    string
	// Topic is "" for a request without topics.
	Topic string
	// Error is the error code of the answer that the proxy gave; 0 where the server answered.
	Error int16
}
