package policy

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// TLS allows TLS connections by the name that their ClientHello asks for. Connections that
// are not TLS, and those without a name or with one that no host can have, match nothing.
type TLS struct {
	Rule TLSRule
	// HTTP are the rules on what is inside; only a Rule that inspects has any.
	HTTP []HTTPRule
	// Audit lets through, and reports, what the rule refuses.
	Audit bool
}

// TLSRule is one set of names.
type TLSRule struct {
	ID RuleID
	// Names are alternatives.
	Names []ServerName
	// Inspect says how TLS is ended and begun again; the zero value passes it on as it is.
	Inspect Inspection
}

// Inspection is how a proxy stands between client and server. It names secrets.
type Inspection struct {
	// Certificate is what clients are shown.
	Certificate SecretID
	// ClientCA, if set, must have signed the certificate that a client must show then.
	ClientCA SecretID
	// TrustedCA must have signed the server's certificate, which must be for the name that
	// the client asked for. "" for a server that is spoken to without TLS.
	TrustedCA SecretID
	// ClientCertificate, if set, is shown to the server.
	ClientCertificate SecretID
}

// Secrets are the IDs that the inspection names.
func (i Inspection) Secrets() []SecretID {
	return slices.DeleteFunc([]SecretID{i.Certificate, i.ClientCA, i.TrustedCA, i.ClientCertificate},
		func(id SecretID) bool { return id == "" })
}

// sealed is how NodePolicy.Reveal marks an inspection whose secrets are not there: nothing
// gets through it, whatever other rules say of its names.
const sealed SecretID = "sealed"

// Sealed says whether the rule inspects and its secrets are not there.
func (r TLSRule) Sealed() bool { return r.Inspect.Certificate == sealed }

// Inspects says whether the rule looks into its connections.
func (r TLSRule) Inspects() bool { return r.Inspect != Inspection{} }

// ServerName is a name or pattern in lower case, without a trailing dot: "*" in a label
// stands for any characters of it, as a whole label for one label, and "**." at the
// beginning for one or more labels. The last label has no "*".
type ServerName string

// TLSRequest is a TLS connection as its ClientHello describes it.
type TLSRequest struct {
	// ServerName is as it was sent; "" for none, and for a ClientHello that names more
	// than one or that cannot be read.
	ServerName string
}

// AnyServerName is the pattern of every name that a host can have.
const AnyServerName ServerName = "**"

const (
	anyLabel  = `[-a-z0-9_]+`
	anyInside = `[-a-z0-9_]*`
	// maxServerName is the longest name that a ClientHello can have.
	maxServerName = 255
)

// Exact says whether the name has no pattern in it.
func (n ServerName) Exact() bool { return !strings.Contains(string(n), "*") }

// Expression is the pattern as an RE2 expression over a whole name in lower case and
// without a trailing dot.
func (n ServerName) Expression() string {
	if n == AnyServerName { // the last label is no number: a name is no address
		return `(?:` + anyLabel + `\.)*` + anyInside + `[-a-z_]` + anyInside
	}
	rest, many := strings.CutPrefix(string(n), "**.")
	var b strings.Builder
	if many {
		b.WriteString(`(?:` + anyLabel + `\.)+`)
	}
	for i, label := range strings.Split(rest, ".") {
		if i > 0 {
			b.WriteString(`\.`)
		}
		if label == "*" {
			b.WriteString(anyLabel)
			continue
		}
		for j, part := range strings.Split(label, "*") {
			if j > 0 {
				b.WriteString(anyInside)
			}
			b.WriteString(regexp.QuoteMeta(part))
		}
	}
	return b.String()
}

// matches compares a name that NormalizeServerName returned. A pattern that is none matches nothing.
func (n ServerName) matches(name string) bool {
	if name == "" || len(name) > maxServerName {
		return false
	}
	if n.Exact() {
		return name == string(n)
	}
	return wholeMatch(n.Expression(), "", name, false)
}

// NormalizeServerName returns a name as it is compared: in lower case and without a trailing dot.
func NormalizeServerName(name string) string {
	return strings.TrimSuffix(strings.ToLower(name), ".")
}

// IsTLS says whether the class judges TLS connections.
func (c Class) IsTLS() bool { return c.Kind == KindTLS }

// DecideTLS judges a connection by a class's names; nil stands for one that is not TLS. A
// connection that is inspected is Redirected: the HTTP rules judge what is inside.
func (c Class) DecideTLS(req *TLSRequest) Decision {
	if req != nil {
		rule, ok := c.tlsRule(NormalizeServerName(req.ServerName))
		switch {
		case ok && rule.Sealed():
			return Decision{Verdict: Denied, Reason: "a secret of the rule is missing"}
		case ok && rule.Inspects():
			return Decision{Verdict: Redirected, Rule: rule.ID, Reason: "layer 7 rules decide"}
		case ok:
			return c.audited(Decision{Verdict: Forwarded, Rule: rule.ID, Reason: "allowed by rule"})
		}
	}
	return c.audited(c.rest())
}

// tlsRule returns the rule that a name's connections go by: one that inspects before one
// that does not, as its denies must hold, and one that spells the name out before patterns.
func (c Class) tlsRule(name string) (TLSRule, bool) {
	for _, inspects := range []bool{true, false} {
		for _, exact := range []bool{true, false} {
			for _, r := range c.TLS {
				if r.Inspects() == inspects && slices.ContainsFunc(r.Names, func(n ServerName) bool { return n.Exact() == exact && n.matches(name) }) {
					return r, true
				}
			}
		}
	}
	return TLSRule{}, false
}

// nameHolds says whether the rule is about connections to that name.
func (r HTTPRule) nameHolds(name string) bool {
	return len(r.Names) == 0 || slices.ContainsFunc(r.Names, func(n ServerName) bool { return n.matches(NormalizeServerName(name)) })
}

// insideTLS are the rules of a class on what is inside of TLS. Where one rule inspects a
// name, the others that pass it on allow everything inside.
func insideTLS(tls []TLSRule, l7 []*rule) []HTTPRule {
	var out []HTTPRule
	if !slices.ContainsFunc(tls, TLSRule.Inspects) {
		return nil
	}
	for _, r := range tls {
		if !r.Inspects() {
			out = append(out, HTTPRule{ID: r.ID, Names: r.Names})
		}
	}
	for _, r := range l7 {
		if t, ok := r.l7.(*TLS); ok {
			for _, h := range t.HTTP {
				h.Names = t.Rule.Names
				out = append(out, h)
			}
		}
	}
	return eachOnce(out, func(r HTTPRule) RuleID { return r.ID })
}

// MaxClassNames is how many server names one class can have: each is a part of Envoy's listener.
const MaxClassNames = 1000

// tls fills a class from TLS rules.
func (f *folder) tls(c *Class, l7 []*rule) {
	for _, r := range l7 {
		if tls, ok := r.l7.(*TLS); ok && !slices.ContainsFunc(c.TLS, func(o TLSRule) bool { return o.ID == tls.Rule.ID }) {
			c.TLS = append(c.TLS, tls.Rule)
		}
	}
	slices.SortFunc(c.TLS, func(a, b TLSRule) int { return CompareRuleIDs(a.ID, b.ID) })
	c.HTTP = append(c.HTTP, insideTLS(c.TLS, l7)...)
	if _, made := f.classes[c.ID]; !made {
		f.limitNames(c)
	}
}

// limitNames leaves out the rules on server names for which there is no room.
func (f *folder) limitNames(c *Class) {
	names := map[ServerName]bool{}
	for i, r := range c.TLS {
		for _, n := range r.Names {
			names[n] = true
		}
		if len(names) <= MaxClassNames {
			continue
		}
		for _, r := range c.TLS[i:] {
			f.tooMuch(Problem{Policy: r.ID.Policy, Path: r.ID.Path, Reason: ReasonUnsupported, Message: fmt.Sprintf(
				"the server names of all policies for the same pods, peer and port are more than the %d that are possible: this rule allows nothing", MaxClassNames)})
		}
		// A class of TLS stays one, also without any rule that allows.
		c.TLS = append(slices.Clip(c.TLS[:i]), TLSRule{ID: r.ID})
		return
	}
}

// CompareServerNames orders exact names before patterns.
func CompareServerNames(a, b ServerName) int {
	if a.Exact() != b.Exact() {
		if a.Exact() {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}
