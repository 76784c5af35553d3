package policy

import (
	"cmp"
	"fmt"
	"slices"
)

// SecretID names a value in a Secret, and what it is used as: "header/demo/token".
type SecretID string

// Secret is a value that rules name. It is not a part of them, so that it can be kept out
// of what is written and printed, and can change without them.
type Secret struct {
	ID SecretID
	// Value is a header's value, or certificates in PEM.
	Value Hidden
	// Key is the certificate's private key in PEM; empty for what has none.
	Key Hidden
}

// Hidden is a value that is never printed.
type Hidden []byte

// Format implements fmt.Formatter for every verb.
func (h Hidden) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, h.String()) }

// String returns a word that stands for the value.
func (h Hidden) String() string { return "(hidden)" }

// MarshalText keeps the value out of JSON.
func (h Hidden) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// CompareSecrets orders by ID.
func CompareSecrets(a, b Secret) int { return cmp.Compare(a.ID, b.ID) }

// has says whether the node has all of the secrets.
func (np NodePolicy) has(ids []SecretID) bool {
	return !slices.ContainsFunc(ids, func(id SecretID) bool { _, ok := secretIn(np.Secrets, id); return !ok })
}

// secretIn returns the secret of that ID from a sorted list.
func secretIn(sorted []Secret, id SecretID) (Secret, bool) {
	i, ok := slices.BinarySearchFunc(sorted, id, func(s Secret, id SecretID) int { return cmp.Compare(s.ID, id) })
	if !ok {
		return Secret{}, false
	}
	return sorted[i], true
}

// Reveal returns the class with the values of the secrets that its header matches name. A
// rule whose secrets are not there is sealed.
func (np NodePolicy) Reveal(c Class) Class {
	c.TLS = slices.Clone(c.TLS)
	for i, r := range c.TLS {
		if !np.has(r.Inspect.Secrets()) {
			c.TLS[i].Inspect = Inspection{Certificate: sealed}
		}
	}
	c.HTTP = slices.Clone(c.HTTP)
	for i, r := range c.HTTP {
		if !r.Sealed() {
			continue
		}
		c.HTTP[i].Headers = slices.Clone(r.Headers)
		for j, h := range r.Headers {
			if s, ok := secretIn(np.Secrets, h.Secret); ok && h.Secret != "" {
				c.HTTP[i].Headers[j].Value = StringMatch{Kind: MatchExact, Value: string(s.Value)}
			}
		}
	}
	return c
}

// Sealed says whether the rule names a secret whose value is not known: it never allows.
func (r HTTPRule) Sealed() bool {
	return slices.ContainsFunc(r.Headers, func(h HeaderMatch) bool { return h.Secret != "" && h.Value.Kind == MatchAny })
}

// Secrets are the IDs of the secrets that the class names, sorted.
func (c Class) Secrets() []SecretID {
	var out []SecretID
	for _, r := range c.HTTP {
		for _, h := range r.Headers {
			if h.Secret != "" {
				out = append(out, h.Secret)
			}
		}
	}
	for _, r := range c.TLS {
		out = append(out, r.Inspect.Secrets()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
