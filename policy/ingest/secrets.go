package ingest

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	ciliumv2 "github.com/septum-dev/septum/api/cilium/v2"
	"github.com/septum-dev/septum/policy"
)

// secrets are the Secrets that could be read, and what policies named.
type secrets struct {
	byKey map[string]*corev1.Secret
	// unreadable says why a Secret is not in byKey.
	unreadable map[string]string
	// shared are the namespaces whose Secrets every policy may name.
	shared []string
	asked  map[string]bool
	used   map[policy.SecretID]policy.Secret
	// now is when certificates are issued, leaves what was issued before, issued how many are.
	now    time.Time
	leaves *Leaves
	issued int
}

func newSecrets(o Objects) *secrets {
	out := &secrets{byKey: map[string]*corev1.Secret{}, unreadable: o.UnreadableSecrets, shared: o.SharedSecretNamespaces,
		asked: map[string]bool{}, used: map[policy.SecretID]policy.Secret{}, now: o.Time, leaves: o.Leaves}
	out.leaves.turn()
	for i := range o.Secrets {
		out.byKey[o.Secrets[i].Namespace+"/"+o.Secrets[i].Name] = &o.Secrets[i]
	}
	return out
}

// values are what the policies use, by ID.
func (s *secrets) values() []policy.Secret {
	return slices.SortedFunc(maps.Values(s.used), policy.CompareSecrets)
}

// keys are the Secrets that policies name, sorted.
func (s *secrets) keys() []string { return slices.Sorted(maps.Keys(s.asked)) }

// secret finds a Secret that a policy names. A namespaced policy may name those of its own
// namespace and of shared ones: who writes policies in one namespace must not get at the
// Secrets of another by the operator's rights.
func (s *scope) secret(namespace, name, path string) (*corev1.Secret, bool) {
	if namespace == "" {
		namespace = s.namespace
	}
	key := namespace + "/" + name
	switch {
	case name == "":
		s.invalid(path+".name", "the Secret's name is needed")
		return nil, false
	case namespace == "":
		s.invalid(path+".namespace", "is needed in a cluster-wide policy")
		return nil, false
	case !objectName(namespace) || !objectName(name):
		s.invalid(path, "%q is not the namespace and name of a Secret", key)
		return nil, false
	case s.namespace != "" && namespace != s.namespace && !slices.Contains(s.secrets.shared, namespace):
		s.add(path+".namespace", policy.ReasonUnresolved, "a policy of namespace %q may name Secrets of its own namespace, and of those that the operator shares (secrets.sharedNamespaces of the chart); %q is neither", s.namespace, namespace)
		return nil, false
	}
	s.secrets.asked[key] = true
	secret := s.secrets.byKey[key]
	if secret == nil {
		why := s.secrets.unreadable[key]
		if why == "" {
			why = "it does not exist"
		}
		s.add(path, policy.ReasonUnresolved, "Secret %q cannot be used: %s; what needs it allows nothing", key, why)
		return nil, false
	}
	return secret, true
}

// ciliumHeaderSecret gives a header match the value in a Secret of one entry.
func (s *scope) ciliumHeaderSecret(h *policy.HeaderMatch, in *ciliumv2.Secret, path string) bool {
	secret, ok := s.secret(in.Namespace, in.Name, path)
	if !ok {
		return false
	}
	key := secret.Namespace + "/" + secret.Name
	if len(secret.Data) != 1 {
		s.add(path, policy.ReasonUnresolved, "Secret %q has %d entries, and must have one: the rule allows nothing", key, len(secret.Data))
		return false
	}
	for _, value := range secret.Data {
		if len(value) == 0 || len(value) > maxHeaderSecret || strings.ContainsAny(string(value), "\x00\r\n") {
			s.add(path, policy.ReasonUnresolved, "the value in Secret %q is empty, longer than %d bytes or has a line break (often one at its end), and no header has such a value: the rule allows nothing", key, maxHeaderSecret)
			return false
		}
		h.Secret = policy.SecretID("header/" + key)
		s.secrets.used[h.Secret] = policy.Secret{ID: h.Secret, Value: value}
	}
	return true
}

// maxHeaderSecret bounds a header's value, in bytes.
const maxHeaderSecret = 4096

// objectName says whether text can be the name of an object.
func objectName(text string) bool {
	for _, r := range text {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return false
		}
	}
	return text != "" && len(text) <= 253
}
