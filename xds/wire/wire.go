// Package wire is the wire form of the classes that Septum's own proxy serves, and of what
// it says of them: policy's values in, septumpb's messages out, and the way back with every
// bound checked. It is apart from xds, so that the proxy needs nothing of the control plane.
package wire

import (
	"errors"
	"fmt"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
)

// The bounds of what comes in.
const (
	// MaxText is how long one name, label or expression can be, in bytes.
	MaxText = 8192
	maxList = 4096 // elements of one small list
)

// Class returns a class but for its HTTP and TLS rules, which only Envoy serves.
func Class(c policy.Class) *septumpb.Class {
	out := &septumpb.Class{Id: string(c.ID), Direction: uint32(c.Direction), Audit: c.Audit, AuditRest: c.AuditRest}
	if c.AllowAll != nil {
		out.AllowAll = Rule(*c.AllowAll)
	}
	if c.AuditAll != nil {
		out.AuditAll = Rule(*c.AuditAll)
	}
	out.Kind, out.Kafka, out.Dns = uint32(c.Kind), kafka(c.Kafka), dns(c.DNS)
	return out
}

// ReadClass is the way back.
func ReadClass(in *septumpb.Class) (policy.Class, error) {
	out := policy.Class{ID: policy.ClassID(in.GetId()), Kind: policy.Kind(in.GetKind()), Direction: policy.Direction(in.GetDirection()), Audit: in.GetAudit(), AuditRest: in.GetAuditRest()}
	err := errors.Join(atMost("kind", uint64(in.GetKind()), uint64(policy.KindTLS)), atMost("direction", uint64(in.GetDirection()), uint64(policy.Egress)), NotEmpty("id", in.GetId()))
	if err != nil {
		return out, err
	}
	if in.GetAllowAll() != nil {
		rule, err := ReadRule(in.GetAllowAll())
		if err != nil {
			return out, fmt.Errorf("allow_all: %w", err)
		}
		out.AllowAll = &rule
	}
	if in.GetAuditAll() != nil {
		rule, err := ReadRule(in.GetAuditAll())
		if err != nil {
			return out, fmt.Errorf("audit_all: %w", err)
		}
		out.AuditAll = &rule
	}
	if out.Kafka, err = readKafka(in.GetKafka()); err != nil {
		return out, fmt.Errorf("kafka: %w", err)
	}
	if out.DNS, err = readDNS(in.GetDns()); err != nil {
		return out, fmt.Errorf("dns: %w", err)
	}
	for kind, rules := range map[policy.Kind]int{policy.KindHTTP: len(in.GetHttp()), policy.KindKafka: len(out.Kafka), policy.KindDNS: len(out.DNS), policy.KindTLS: len(in.GetTls())} {
		inside := kind == policy.KindHTTP && out.Kind == policy.KindTLS
		if kind != out.Kind && rules > 0 && !inside {
			return out, fmt.Errorf("the class is one of %s, and has rules of %s", out.Kind, kind)
		}
	}
	return out, nil
}

// Rule returns a rule's name.
func Rule(r policy.RuleID) *septumpb.RuleID {
	return &septumpb.RuleID{Kind: r.Policy.Kind, Namespace: r.Policy.Namespace, Name: r.Policy.Name, Path: r.Path, RuleName: r.Name}
}

// ReadRule is the way back.
func ReadRule(in *septumpb.RuleID) (policy.RuleID, error) {
	out := policy.RuleID{
		Policy: policy.Ref{Kind: in.GetKind(), Namespace: in.GetNamespace(), Name: in.GetName()},
		Path:   in.GetPath(), Name: in.GetRuleName(),
	}
	return out, errors.Join(NotEmpty("kind", in.GetKind()), Text("namespace", in.GetNamespace()), NotEmpty("name", in.GetName()),
		Text("path", in.GetPath()), Text("rule_name", in.GetRuleName()))
}

func atMost(field string, n, limit uint64) error {
	if n > limit {
		return fmt.Errorf("%s: %d is more than %d", field, n, limit)
	}
	return nil
}

// Text refuses what is longer than MaxText.
func Text(field, value string) error {
	if len(value) > MaxText {
		return fmt.Errorf("%s: longer than %d bytes", field, MaxText)
	}
	return nil
}

// NotEmpty refuses what is empty, or longer than MaxText.
func NotEmpty(field, value string) error {
	if value == "" {
		return fmt.Errorf("%s: is empty", field)
	}
	return Text(field, value)
}
