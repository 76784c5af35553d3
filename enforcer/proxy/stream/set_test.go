package stream

import (
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/septum-dev/septum/policy"
)

// TestAProxyOlderThanItsEnforcer refuses a set with a condition that it does not know: it would
// judge without it.
func TestAProxyOlderThanItsEnforcer(t *testing.T) {
	rule := policy.KafkaRule{ID: policy.RuleID{Policy: policy.Ref{Kind: "L7NetworkPolicy", Name: "p"}}}
	sent := Set{Classes: []Served{{Class: policy.Class{ID: "c", Kind: policy.KindKafka, Kafka: []policy.KafkaRule{rule}}, Port: 33000}}}.message()
	if _, err := read(sent); err != nil {
		t.Fatal(err)
	}
	sent.GetClasses()[0].GetClass().GetKafka()[0].ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
	if got, err := read(sent); err == nil {
		t.Errorf("taken as %+v", got)
	}
}
