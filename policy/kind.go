package policy

import "slices"

// Kind is the protocol that a class's rules are about.
type Kind uint8

// The kinds. Their numbers are those of the wire.
const (
	KindHTTP  Kind = 0
	KindKafka Kind = 1
	KindDNS   Kind = 2
	KindTLS   Kind = 3
)

func (k Kind) String() string {
	switch k {
	case KindHTTP:
		return "HTTP"
	case KindKafka:
		return "Kafka"
	case KindDNS:
		return "DNS"
	case KindTLS:
		return "TLS"
	}
	return "unknown"
}

// Backend is what listens for a class's connections in the proxy's namespace.
type Backend uint8

// The backends: Envoy, and Septum's own proxy beside it.
const (
	BackendEnvoy Backend = 0
	BackendOwn   Backend = 1
)

// Backend says who serves the class. A kind that is not known is no work for Envoy.
func (c Class) Backend() Backend {
	if c.Kind == KindHTTP || c.Kind == KindTLS {
		return BackendEnvoy
	}
	return BackendOwn
}

// L7 is the layer 7 part of a rule: one of *HTTP, *Kafka, *DNS and *TLS.
type L7 interface {
	Kind() Kind
	// audits says whether what the rules refuse is let through and reported.
	audits() bool
	// denies says whether one of the rules denies.
	denies() bool
	// softened is the part with rules that only report what they would have refused.
	softened() L7
	// addTo gives a class the rules.
	addTo(*Class)
}

// Kind is KindHTTP.
func (*HTTP) Kind() Kind { return KindHTTP }

func (h *HTTP) audits() bool      { return h.Audit }
func (h *HTTP) addTo(c *Class)    { c.HTTP = append(c.HTTP, h.Rules...) }
func (h *HTTP) denies() bool      { return hasDeny(h.Rules, HTTPRule.action) }
func (r HTTPRule) action() Action { return r.Action }

func (h *HTTP) softened() L7 { return &HTTP{Audit: h.Audit, Rules: softHTTP(h.Rules)} }

func softHTTP(rules []HTTPRule) []HTTPRule {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Audit = true
	}
	return out
}

// Kind is KindKafka.
func (*Kafka) Kind() Kind { return KindKafka }

func (k *Kafka) audits() bool      { return k.Audit }
func (k *Kafka) addTo(c *Class)    { c.Kafka = append(c.Kafka, k.Rules...) }
func (k *Kafka) denies() bool      { return hasDeny(k.Rules, KafkaRule.action) }
func (r KafkaRule) action() Action { return r.Action }

func (k *Kafka) softened() L7 { return &Kafka{Audit: k.Audit, Rules: softKafka(k.Rules)} }

func softKafka(rules []KafkaRule) []KafkaRule {
	out := slices.Clone(rules)
	for i := range out {
		out[i].Audit = true
	}
	return out
}

// Kind is KindDNS.
func (*DNS) Kind() Kind { return KindDNS }

func (d *DNS) audits() bool   { return d.Audit }
func (d *DNS) addTo(c *Class) { c.DNS = append(c.DNS, d.Rules...) }

// denies is false, and there is nothing to soften: DNS rules only allow.
func (*DNS) denies() bool   { return false }
func (d *DNS) softened() L7 { return d }

// Kind is KindTLS.
func (*TLS) Kind() Kind { return KindTLS }

func (t *TLS) audits() bool { return t.Audit }
func (t *TLS) denies() bool { return hasDeny(t.HTTP, HTTPRule.action) }

// addTo does nothing: the folder adds names, of which there is a limit.
func (*TLS) addTo(*Class) {}

func (t *TLS) softened() L7 {
	return &TLS{Rule: t.Rule, Audit: t.Audit, HTTP: softHTTP(t.HTTP)}
}

func hasDeny[R any](rules []R, action func(R) Action) bool {
	return slices.ContainsFunc(rules, func(r R) bool { return action(r) == Deny })
}
