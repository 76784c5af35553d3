package xds

import (
	"fmt"
	"maps"
	"slices"

	"github.com/septum-dev/septum/policy"
	"github.com/septum-dev/septum/xds/septumpb"
	"github.com/septum-dev/septum/xds/wire"
)

// The features of the wire that not every node has known from the beginning. A node says at
// the start of its stream which it knows, and a resource says which it needs. Whoever adds a
// field to a resource adds its feature here: without one, a node that is older than its
// operator would enforce what is left of the rule.
const (
	featureKafka         = "kafka"
	featureDNS           = "dns"
	featureTLS           = "tls"
	featureInspection    = "tls-inspection"
	featureJWT           = "jwt"
	featureRate          = "rate-limit"
	featureHeaderActions = "header-actions"
	featureHeaderSecrets = "header-secrets"
	featureAuditAll      = "audit-all"
)

// Features returns those that this version knows, sorted.
func Features() []string {
	return []string{
		featureAuditAll, featureDNS, featureHeaderActions, featureHeaderSecrets, featureJWT, featureKafka, featureRate,
		featureTLS, featureInspection,
	}
}

// lacking returns the features of this version that are not among those of a node.
func lacking(known []string) []string {
	return slices.DeleteFunc(Features(), func(f string) bool { return slices.Contains(known, f) })
}

// knownFeatures returns the features of this version that are among those of a node.
func knownFeatures(of []string) []string {
	return slices.DeleteFunc(Features(), func(f string) bool { return !slices.Contains(of, f) })
}

// kindFeature is what a node must know to serve classes of that kind; "" for HTTP.
func kindFeature(kind uint32) string {
	switch policy.Kind(kind) {
	case policy.KindKafka:
		return featureKafka
	case policy.KindDNS:
		return featureDNS
	case policy.KindTLS:
		return featureTLS
	}
	return ""
}

// httpFeatures are those of one rule.
func httpFeatures(r *septumpb.HTTPRule) []string {
	var out []string
	if r.GetJwt() != nil {
		out = append(out, featureJWT)
	}
	if r.GetRateLimit() != nil {
		out = append(out, featureRate)
	}
	if len(r.GetNames()) > 0 {
		out = append(out, featureInspection)
	}
	for _, h := range r.GetHeaders() {
		if h.GetMismatch() != 0 {
			out = append(out, featureHeaderActions)
		}
		if h.GetSecret() != "" {
			out = append(out, featureHeaderSecrets)
		}
	}
	return out
}

func tlsFeatures(r *septumpb.TLSRule) []string {
	if r.GetInspect() != nil {
		return []string{featureInspection}
	}
	return nil
}

// classFeatures are all that a class needs, sorted.
func classFeatures(c *septumpb.Class) []string {
	var out []string
	if f := kindFeature(c.GetKind()); f != "" {
		out = append(out, f)
	}
	if c.GetAuditAll() != nil {
		out = append(out, featureAuditAll)
	}
	for _, r := range c.GetHttp() {
		out = append(out, httpFeatures(r)...)
	}
	for _, r := range c.GetTls() {
		out = append(out, tlsFeatures(r)...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// checkUnderstood refuses what this version cannot judge by whole: a feature or a field that
// it does not know may be the condition that keeps a rule closed. What all nodes get alike only
// names who is behind an address, and may say more of him; another meaning comes as another kind.
func checkUnderstood(m resourceMessage) error {
	node, ok := m.(*septumpb.NodeResource)
	if !ok {
		return nil
	}
	for _, need := range node.GetNeeds() {
		if !slices.Contains(Features(), need) {
			return fmt.Errorf("needs %s, which this version does not know", quote(need))
		}
	}
	return wire.Known(node.ProtoReflect())
}

func allUnderstood[M resourceMessage](in map[string]M) error {
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if err := checkUnderstood(in[name]); err != nil {
			return fmt.Errorf("%s: %w", quote(name), err)
		}
	}
	return nil
}
