package xds

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp/syntax"
	"slices"
	"strings"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

func endpointFromProto(in *septumpb.Endpoint) (policy.EndpointPolicy, error) {
	out := policy.EndpointPolicy{
		Key: in.GetKey(), UID: in.GetUid(), Identity: policy.Identity(in.GetIdentity()), HostNetwork: in.GetHostNetwork(),
		Ingress: policy.TableID(in.GetIngressTable()), Egress: policy.TableID(in.GetEgressTable()),
	}
	if namespace, name, ok := strings.Cut(out.Key, "/"); !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
		return out, fmt.Errorf("key: %s is not namespace/name", quote(out.Key))
	}
	if err := errors.Join(wire.Text("key", in.GetKey()), wire.Text("uid", in.GetUid()), wire.Text("ingress_table", in.GetIngressTable()),
		wire.Text("egress_table", in.GetEgressTable()), atMost("addresses", len(in.GetAddresses()), maxList)); err != nil {
		return out, err
	}
	for _, s := range in.GetAddresses() {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Is4In6() || addr.Zone() != "" {
			return out, fmt.Errorf("addresses: %s is not an address", quote(s))
		}
		out.Addrs = append(out.Addrs, addr)
	}
	return out, nil
}

func tableFromProto(in *septumpb.Table) (policy.Table, error) {
	out := policy.Table{ID: policy.TableID(in.GetId()), DefaultDeny: in.GetDefaultDeny(), Audit: in.GetAudit(), AuditRest: in.GetAuditRest()}
	direction, err := enum("direction", in.GetDirection(), uint32(policy.Egress))
	if err := errors.Join(err, wire.NotEmpty("id", in.GetId())); err != nil {
		return out, err
	}
	out.Direction = policy.Direction(direction)
	rules := make([]policy.RuleID, 0, len(in.GetRules()))
	for i, r := range in.GetRules() {
		rule, err := ruleFromProto(r)
		if err != nil {
			return out, fmt.Errorf("rules[%d]: %w", i, err)
		}
		rules = append(rules, rule)
	}
	for i, p := range in.GetDenying() {
		if err := errors.Join(wire.NotEmpty("kind", p.GetKind()), wire.Text("namespace", p.GetNamespace()), wire.NotEmpty("name", p.GetName())); err != nil {
			return out, fmt.Errorf("denying[%d]: %w", i, err)
		}
		out.Denying = append(out.Denying, policy.Ref{Kind: p.GetKind(), Namespace: p.GetNamespace(), Name: p.GetName()})
	}
	for i, e := range in.GetEntries() {
		entry, err := entryFromProto(e, rules)
		if err != nil {
			return out, fmt.Errorf("entries[%d]: %w", i, err)
		}
		if i > 0 && policy.CompareEntries(out.Entries[i-1], entry) >= 0 {
			return out, fmt.Errorf("entries[%d]: out of order, or there twice", i)
		}
		out.Entries = append(out.Entries, entry)
	}
	return out, nil
}

func entryFromProto(in *septumpb.Entry, rules []policy.RuleID) (policy.Entry, error) {
	protocol, errProtocol := enum("protocol", in.GetProtocol(), 255)
	port, errPort := enum("port", in.GetPort(), 65535)
	bits, errBits := enum("prefix_len", in.GetPrefixLen(), 16)
	verdict, errVerdict := enum("verdict", in.GetVerdict(), uint32(policy.Audited))
	out := policy.Entry{
		Identity: policy.Identity(in.GetIdentity()), Protocol: policy.Protocol(protocol), Port: uint16(port),
		PrefixLen: uint8(bits), Verdict: policy.Verdict(verdict), Class: policy.ClassID(in.GetClass()),
	}
	if err := errors.Join(errProtocol, errPort, errBits, errVerdict, wire.Text("class", in.GetClass()), atMost("rules", len(in.GetRules()), len(rules))); err != nil {
		return out, err
	}
	switch {
	case port&(1<<(16-bits)-1) != 0:
		return out, fmt.Errorf("port: %d has bits behind its prefix of %d", port, bits)
	case protocol == 0 && bits != 0:
		return out, errors.New("port: there are no ports without a protocol")
	case (out.Verdict == policy.Redirected) != (out.Class != ""):
		return out, errors.New("class: belongs to the verdict redirected, and to no other")
	}
	for _, i := range in.GetRules() {
		if int64(i) >= int64(len(rules)) {
			return out, fmt.Errorf("rules: there is no rule %d in the table", i)
		}
		out.Rules = append(out.Rules, rules[i])
	}
	return out, nil
}

func ruleFromProto(in *septumpb.RuleID) (policy.RuleID, error) { return wire.ReadRule(in) }

func classFromProto(in *septumpb.Class) (policy.Class, error) {
	out, err := wire.ReadClass(in)
	if err := errors.Join(err, atMost("http", len(in.GetHttp()), policy.MaxClassRules)); err != nil {
		return out, err
	}
	failure, err := enum("failure", in.GetFailure(), uint32(policy.FailOpen))
	if err != nil {
		return out, err
	}
	out.Failure = policy.Failure(failure)
	for i, r := range in.GetTls() {
		rule, err := tlsFromProto(r)
		if err != nil {
			return out, fmt.Errorf("tls[%d]: %w", i, err)
		}
		out.TLS = append(out.TLS, rule)
	}
	if err := keySetsFromProto(in.GetJwks()); err != nil {
		return out, err
	}
	for i, r := range in.GetHttp() {
		rule, err := httpFromProto(r)
		if err == nil {
			rule.JWT, err = jwtFromProto(r.GetJwt(), in.GetJwks())
		}
		if err == nil {
			rule.Rate, err = rateFromProto(r.GetRateLimit())
		}
		if err != nil {
			return out, fmt.Errorf("http[%d]: %w", i, err)
		}
		out.HTTP = append(out.HTTP, rule)
	}
	return out, nil
}

func httpFromProto(in *septumpb.HTTPRule) (policy.HTTPRule, error) {
	id, errID := ruleFromProto(in.GetId())
	action, errAction := enum("action", in.GetAction(), uint32(policy.Deny))
	path, errPath := matchFromProto("path", in.GetPath())
	methods, errMethods := matchesFromProto("methods", in.GetMethods())
	hosts, errHosts := matchesFromProto("hosts", in.GetHosts())
	names, errNames := namesFromProto(in.GetNames())
	out := policy.HTTPRule{ID: id, Action: policy.Action(action), Audit: in.GetAudit(), Methods: methods, Path: path, Hosts: hosts, Names: names}
	if err := errors.Join(errID, errAction, errPath, errMethods, errHosts, errNames, atMost("headers", len(in.GetHeaders()), maxList)); err != nil {
		return out, err
	}
	for i, h := range in.GetHeaders() {
		value, err := matchFromProto("value", h.GetValue())
		mismatch, errMismatch := enum("mismatch", h.GetMismatch(), uint32(policy.MismatchReplace))
		if err := errors.Join(err, errMismatch, wire.NotEmpty("name", h.GetName()), wire.Text("secret", h.GetSecret())); err != nil {
			return out, fmt.Errorf("headers[%d]: %w", i, err)
		}
		out.Headers = append(out.Headers, policy.HeaderMatch{
			Name: h.GetName(), Value: value, Mismatch: policy.Mismatch(mismatch), Secret: policy.SecretID(h.GetSecret()),
		})
	}
	return out, nil
}

func matchesFromProto(field string, in []*septumpb.StringMatch) ([]policy.StringMatch, error) {
	if err := atMost(field, len(in), maxList); err != nil {
		return nil, err
	}
	var out []policy.StringMatch
	for _, m := range in {
		match, err := matchFromProto(field, m)
		if err != nil {
			return nil, err
		}
		out = append(out, match)
	}
	return out, nil
}

func matchFromProto(field string, in *septumpb.StringMatch) (policy.StringMatch, error) {
	kind, err := enum(field+" kind", in.GetKind(), uint32(policy.MatchRegex))
	if err := errors.Join(err, wire.Text(field, in.GetValue())); err != nil {
		return policy.StringMatch{}, err
	}
	out := policy.StringMatch{Kind: policy.MatchKind(kind), Value: in.GetValue()}
	if out.Kind == policy.MatchRegex {
		if _, err := syntax.Parse(out.Value, syntax.Perl); err != nil {
			return policy.StringMatch{}, fmt.Errorf("%s: %w", field, err)
		}
	}
	return out, nil
}

func appliedFromProto(in []*septumpb.AppliedPolicy) ([]policy.AppliedPolicy, error) {
	if err := atMost("policies", len(in), maxApplied); err != nil {
		return nil, err
	}
	var out []policy.AppliedPolicy
	for i, p := range in {
		if err := errors.Join(wire.NotEmpty("kind", p.GetKind()), wire.Text("namespace", p.GetNamespace()), wire.NotEmpty("name", p.GetName()), wire.Text("uid", p.GetUid())); err != nil {
			return nil, fmt.Errorf("policies[%d]: %w", i, err)
		}
		out = append(out, policy.AppliedPolicy{
			Ref: policy.Ref{Kind: p.GetKind(), Namespace: p.GetNamespace(), Name: p.GetName()}, UID: p.GetUid(), Generation: p.GetGeneration(),
		})
	}
	slices.SortFunc(out, func(a, b policy.AppliedPolicy) int { return policy.CompareRefs(a.Ref, b.Ref) })
	return out, nil
}

func enum(field string, value, last uint32) (uint32, error) {
	if value > last {
		return 0, fmt.Errorf("%s: %d is more than %d", field, value, last)
	}
	return value, nil
}

func atMost(field string, n, limit int) error {
	if n > limit {
		return fmt.Errorf("%s: %d are more than the %d that are allowed", field, n, limit)
	}
	return nil
}

// quote makes a name from the wire safe to print, and short.
func quote(s string) string {
	if len(s) > 128 {
		s = s[:128] + "…"
	}
	return fmt.Sprintf("%q", s)
}
