package ingest

import (
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"

	"github.com/septum-dev/septum/api/v1alpha1"
	"github.com/septum-dev/septum/policy"
)

const (
	// maxIssued is how many certificates are issued for all policies.
	maxIssued = 1000
	// maxIssuedNames bounds the names in one of them, in bytes: Java's clients take a chain of 32 KiB.
	maxIssuedNames = 16 << 10
)

// Leaves keeps issued certificates from one Snapshot to the next, for to sign them all each
// time would take seconds. What Snapshot returns does not depend on it. One Snapshot at a time
// may use it; the zero value is ready.
type Leaves struct {
	before, now map[[sha256.Size]byte]issued
}

// issued is a certificate, or why there is none.
type issued struct {
	secret policy.Secret
	wrong  string
	issuer *x509.Certificate
}

// turn begins a Snapshot: what the last one did not use is forgotten.
func (l *Leaves) turn() {
	if l != nil {
		l.before, l.now = l.now, map[[sha256.Size]byte]issued{}
	}
}

// of returns what was kept under the key, or makes it.
func (l *Leaves) of(key [sha256.Size]byte, make func() issued) issued {
	if l == nil {
		return make()
	}
	out, ok := l.now[key]
	if !ok {
		if out, ok = l.before[key]; !ok {
			out = make()
		}
		l.now[key] = out
	}
	return out
}

// issued issues the certificate that clients of a rule are shown. It is named by the rule and
// not by its names, so that a name more or less leaves the connections of the others.
func (s *scope) issued(rule policy.TLSRule, in v1alpha1.SecretReference, path string) (policy.SecretID, bool) {
	ref := rule.ID.Policy
	id := s.secretID("issued", in.Namespace, in.Name, ref.Kind, ref.Namespace, ref.Name, rule.ID.Path)
	names, ok := s.issuedNames(rule.Names, path)
	secret, found := s.secret(in.Namespace, in.Name, path)
	if !ok || !found {
		return id, false
	}
	fail := func(why string) (policy.SecretID, bool) {
		s.add(path, policy.ReasonUnresolved, "Secret %q cannot issue certificates: %s; what needs it allows nothing", secret.Namespace+"/"+secret.Name, why)
		return id, false
	}
	cert, key := secret.Data[entryCertificate], secret.Data[entryKey]
	switch s.secrets.issued++; {
	case s.secrets.issued > maxIssued:
		s.unsupported(path, "certificates for more than %d rules of all policies are not supported: the rule allows nothing", maxIssued)
		return id, false
	case len(cert) == 0 || len(key) == 0:
		return fail("it has no " + entryCertificate + " and " + entryKey)
	case len(cert) > maxSecretValue || len(key) > maxSecretValue:
		return fail(entryCertificate + " or " + entryKey + " is larger than 128 KiB")
	}
	about := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %s", id, names, cert, key, s.secrets.now.Truncate(leafDay)))
	got := s.secrets.leaves.of(about, func() issued {
		from, err := issuerFrom(cert, key)
		if err != nil {
			return issued{wrong: err.Error()}
		}
		leaf, err := from.leaf(id, names, s.secrets.now)
		if err != nil {
			return issued{wrong: err.Error(), issuer: from.cert}
		}
		return issued{secret: leaf, issuer: from.cert}
	})
	if got.issuer != nil {
		if wrong := wrongTime(got.issuer, s.secrets.now); wrong != "" {
			return fail(wrong)
		}
	}
	if got.wrong != "" {
		return fail(got.wrong)
	}
	s.secrets.used[id] = got.secret
	return id, true
}

// issuedNames are the names of a certificate for a rule's. In a certificate a whole first label
// can be anything, and no other: a pattern of a part of it gets that, and the rule still refuses
// what it does not match.
func (s *scope) issuedNames(in []policy.ServerName, path string) ([]string, bool) {
	var out []string
	size := 0
	for _, n := range in {
		name := string(n)
		first, rest, _ := strings.Cut(name, ".")
		if !n.Exact() {
			if first == "**" || strings.Contains(rest, "*") || !strings.Contains(rest, ".") {
				s.invalid(path, "clients take no certificate for %q: `*` can stand in the first label only, with two labels after it; list the names, or patterns such as \"*.example.com\"", n)
				return nil, false
			}
			name = "*." + rest
		}
		if !slices.Contains(out, name) {
			out, size = append(out, name), size+len(name)
		}
	}
	if size > maxIssuedNames {
		s.invalid(path, "the names of the rule have %d bytes, and at most %d can be in one certificate; write two rules", size, maxIssuedNames)
		return nil, false
	}
	return out, len(out) > 0
}
